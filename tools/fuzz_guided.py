"""One target of lib/fuzz_targets.py under atheris: TARGET FOLDER SECONDS SEED. Started by fuzz.py, which parses its output.

The package must not be imported before atheris is set up: modules imported earlier are not instrumented and do not guide it.
"""

import argparse
import resource
import sys
import tempfile
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

INSTRUMENTED = ["aird_plugin", "PIL"]
# The pure-Python file readers of packages that would take minutes to instrument as a whole.
DECODERS = ("numpy.lib._format_impl", "torch.serialization", "torch._weights_only_unpickler", "zipfile")
# libFuzzer's memory limit; it ends a run before the budget of a target can be checked.
MOST_MB = 4096


def main(name: str, folder: str, seconds: str, seed: str) -> None:
    """Does not return: libFuzzer ends the process, with status 0 if no fault was found."""
    import atheris

    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp())
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tools import fuzz

        target = fuzz.TARGETS[name]
        for number, content in enumerate(target.seeds(scratch)):
            (corpus / f"seed{number}").write_bytes(content)
            fuzz.read_strictly(target, content, scratch)
    for name in DECODERS:
        for function in functions_of(sys.modules.get(name)):
            atheris.instrument_func(function)
    words = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-timeout={fuzz.MOST_SECONDS}",
        f"-rss_limit_mb={MOST_MB}",
        f"-max_len={fuzz.LONGEST}",
        f"-artifact_prefix={folder}/fault-",
        "-print_final_stats=1",
    ]

    def one(content: bytes) -> None:
        before = resident()
        fuzz.read_strictly(target, content, scratch)
        if resident() - before > target.budget(len(content)):
            raise fuzz.Fault(f"{(resident() - before) / 1e6:.0f} MB for a file of {len(content)} bytes")

    atheris.Setup([sys.argv[0], str(corpus), *words], one)
    atheris.Fuzz()


def functions_of(module: types.ModuleType | None) -> list[types.FunctionType]:
    """The functions and methods defined in a module."""
    owners = [module, *(value for value in vars(module).values() if isinstance(value, type))] if module else []
    members = [member for owner in owners for member in vars(owner).values()]
    return [one for one in members if isinstance(one, types.FunctionType) and one.__module__ == module.__name__]


def resident() -> int:
    """Peak memory of this process in bytes. Unlike tracemalloc, it includes C libraries."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("target", "folder", "seconds", "seed"):
        parser.add_argument(name)
    main(*vars(parser.parse_args()).values())
