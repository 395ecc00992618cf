"""Run the numeric tests under every setting of oneDNN's and PyTorch's CPU kernels, with one and two threads.

    python tools/cpu_settings.py [--short] [PYTEST_ARGUMENT ...]

ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY restrict the libraries to older instruction sets, which changes the order of
summation, as on other processors; instructions that this processor lacks cannot be tested. Exits with 1 if a setting fails.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.threads import bound_spinning

ROOT = Path(__file__).resolve().parents[1]
# Test folders that compare numbers; the others test files, processes and pages.
FOLDERS = ("losses", "models", "evaluation", "data/batched", "prior", "adaptation")
# Numeric tests of tests/training, tests/utils and tests/data, as prefixes of their names.
FILES = (
    "loop",
    "objective",
    "distributed",
    "rivals",
    "margins",
    "sampled_centers",
    "multi_size",
    "teacher_projection",
    "deterministic",
    "sparse_rows",
    "degradation",
    "lowres",
    "mixture",
    "realworld",
)
ISAS, CAPABILITIES, THREADS = ("SSE41", "AVX2", "AVX512_CORE", "DEFAULT"), ("default", "avx2"), (1, 2)
# Older kernels of both libraries; `make test` runs the newest ones. Without tests that start processes or compile, which compare
# runs of the same kernels.
SHORT = (("SSE41", "avx2", 1),)
SHORT_TESTS = ("-k", "not (ranks or resume or sigkill or signal or compiles or memory)")


def main(argv: list[str] | None = None) -> int:
    """Run every setting and print a line for each."""
    bound_spinning()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = "only the setting that differs most from the default, without tests that start processes or compile"
    parser.add_argument("--short", action="store_true", help=what)
    args, rest = parser.parse_known_args(argv)
    short = expand_arguments(args).short
    settings = SHORT if short else tuple(itertools.product(ISAS, CAPABILITIES, THREADS))
    rest = [*SHORT_TESTS, *rest] if short else rest
    failed = 0
    print(f"{'ONEDNN_MAX_CPU_ISA':<20}{'ATEN_CPU_CAPABILITY':<21}{'threads':<9}result", flush=True)
    for isa, capability, threads in settings:
        code, result = run_tests(isa, capability, threads, rest)
        failed += code != 0
        print(f"{isa:<20}{capability:<21}{threads:<9}{result}", flush=True)
    print(f"{len(settings) - failed} passed, {failed} failed")
    return 1 if failed else 0


def run_tests(isa: str, capability: str, threads: int, more: list[str]) -> tuple[int, str]:
    """Pytest's exit code and last line; prints its whole output if it fails."""
    settings = {"ONEDNN_MAX_CPU_ISA": isa, "ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "pytest", "-m", "not slow", *parallel(threads), *paths(), *more]
    started = time.monotonic()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, **pipes)
    if done.returncode:
        print(done.stdout, flush=True)
    lines = done.stdout.strip().splitlines() or ["no output"]
    return done.returncode, f"{'ok' if done.returncode == 0 else lines[-1]} ({time.monotonic() - started:.0f} s)"


def parallel(threads: int) -> list[str]:
    """Pytest options for as many workers as cores allow with this many threads each."""
    workers = max((os.cpu_count() or 1) // threads, 1)
    return ["-n", str(workers), "--dist", "worksteal"] if workers > 1 else []


def paths() -> list[str]:
    """The folders and files of the numeric tests."""
    tests = ROOT / "tests"
    files = [
        path
        for name in FILES
        for folder in ("training", "utils", "data")
        for path in sorted((tests / folder).glob(f"test_{name}*.py"))
    ]
    return [str(tests / folder) for folder in FOLDERS] + [str(path) for path in files]


if __name__ == "__main__":
    sys.exit(main())
