"""One target of fuzz_targets.py under atheris: TARGET FOLDER SECONDS SEED. Run by fuzz.py, which reads what this prints.

Nothing of the package may be imported before atheris stands ready: what is imported earlier is not instrumented, and its branches
guide nothing.
"""

import resource
import sys
import tempfile
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

INSTRUMENTED = ["aird_plugin", "PIL"]
# Of packages that would take minutes as a whole: what they read files with, as far as that is Python.
DECODERS = ("numpy.lib._format_impl", "torch.serialization", "torch._weights_only_unpickler", "zipfile")
# Stops what takes the machine's memory before its own figures are looked at.
MOST_MB = 4096


def main(name: str, folder: str, seconds: str, seed: str) -> None:
    """Does not return: libFuzzer ends the process, with 0 where no fault was found."""
    import atheris

    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp())
    with atheris.instrument_imports(include=INSTRUMENTED):
        from tools import fuzz

        target = fuzz.TARGETS[name]
        for place, content in enumerate(target.seeds(scratch)):
            (corpus / f"seed{place}").write_bytes(content)
            fuzz.read_strictly(target, content, scratch)
    for name in DECODERS:
        for function in functions_of(sys.modules.get(name)):
            atheris.instrument_func(function)
    words = [f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={fuzz.MOST_SECONDS}", f"-rss_limit_mb={MOST_MB}",
             f"-max_len={fuzz.LONGEST}", f"-artifact_prefix={folder}/fault-", "-print_final_stats=1"]  # fmt: skip

    def one(content: bytes) -> None:
        before = resident()
        fuzz.read_strictly(target, content, scratch)
        if resident() - before > target.budget(len(content)):
            raise fuzz.Fault(f"{(resident() - before) / 1e6:.0f} MB for a file of {len(content)} bytes")

    atheris.Setup([sys.argv[0], str(corpus), *words], one)
    atheris.Fuzz()


def functions_of(module: types.ModuleType | None) -> list[types.FunctionType]:
    """A module's own functions and methods."""
    places = [module, *(value for value in vars(module).values() if isinstance(value, type))] if module else []
    members = [member for place in places for member in vars(place).values()]
    return [one for one in members if isinstance(one, types.FunctionType) and one.__module__ == module.__name__]


def resident() -> int:
    """The most memory that this process has had, in bytes. Unlike tracemalloc's figure it counts what C libraries take."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
