"""Feed broken and hostile files to every reader of untrusted files; one that is not rejected with a clear line is a fault.

    python tools/fuzz.py all --seconds 600            coverage-guided by atheris (pip install atheris; Linux), seconds per target
    python tools/fuzz.py pairs --rounds 300           without atheris: seeded mutations of valid files, the same in every run

Prints one line per target. A fault ends the target and keeps the file that caused it under --out; a guided run also keeps its
corpus there, from which the next run continues. Targets: tools/lib/fuzz_targets.py.
"""

import argparse
import contextlib
import hashlib
import re
import signal
import subprocess
import sys
import tempfile
import tracemalloc
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.utils.errors import EXPECTED
from aird_plugin.utils.paths import expand_arguments
from tools.lib.fuzz_targets import TARGETS, Target

# Time limit of a reader for a file of a few kilobytes.
MOST_SECONDS = 10
LONGEST = 1 << 16
# libFuzzer's names of its findings -> the words printed.
KINDS = {"crash": "crashes", "timeout": "hangs", "oom": "out of memory"}
KEPT = re.compile(r"Test unit written to \S*/fault-(\w+)-")
# Boundary values of lengths and counts.
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


class Fault(BaseException):
    """A reader misbehaved. Not an Exception: readers convert the exceptions of a decoder into their own ValueError."""


def main() -> int:
    args, clean = arguments(), True
    for name in list(TARGETS) if args.target == "all" else [args.target]:
        if args.rounds:
            with tempfile.TemporaryDirectory() as scratch:
                tried, peak = seeded(TARGETS[name], Path(scratch), args.rounds, args.seed, args.out / name)
            print(f"{name}: {tried} files, no fault, at most {peak / 1e6:.1f} MB peak", flush=True)
        else:
            line, passed = guided(name, args.seconds, args.seed, args.out)
            print(f"{name}: {line}", flush=True)
            clean = clean and passed
    return 0 if clean else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--rounds", type=int, help="number of seeded mutations, instead of atheris")
    parser.add_argument("--seconds", type=int, default=60, help="seconds per target under atheris")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    return expand_arguments(parser.parse_args())


def seeded(target: Target, scratch: Path, rounds: int, seed: int, out: Path) -> tuple[int, int]:
    """Read `rounds` mutations of the seeds. Returns the number of files and the largest peak. Fault names the file."""
    rng = np.random.default_rng(seed)
    seeds = target.seeds(scratch)
    for content in seeds:
        # Imports during the first read must not count as memory of a file.
        with contextlib.suppress(*EXPECTED):
            target.read(content, scratch)
    worst = 0
    files = [*seeds, *(mutated(rng, seeds) for _ in range(rounds))]
    for content in files:
        try:
            worst = max(worst, read_limited(target, content, scratch))
        except Fault as fault:
            out.mkdir(parents=True, exist_ok=True)
            file = out / f"fault-{hashlib.sha256(content).hexdigest()[:16]}"
            file.write_bytes(content)
            raise Fault(f"{file}: {fault}") from fault
    return len(files), worst


def read_limited(target: Target, content: bytes, scratch: Path) -> int:
    """Read one file. Returns the peak memory of Python and numpy, in bytes. Raises Fault over the time or memory limit."""

    def timeout(*_):
        raise Fault(f"still reading after {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, timeout)
    signal.alarm(MOST_SECONDS)
    tracemalloc.start()
    try:
        read_strictly(target, content, scratch)
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {error}") from error
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    if peak > target.budget(len(content)):
        raise Fault(f"{peak / 1e6:.0f} MB for a file of {len(content)} bytes")
    return peak


def read_strictly(target: Target, content: bytes, scratch: Path) -> None:
    """Read one file; a rejection is fine. Numeric RuntimeWarnings are raised: the values after one are meaningless."""
    with warnings.catch_warnings(), contextlib.suppress(*EXPECTED):
        warnings.filterwarnings("error", category=RuntimeWarning, message="(invalid|overflow|divide)")
        target.read(content, scratch)


def mutated(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """One to four changes of a seed: bits, bytes, edge values, cuts, repeats, pieces of another seed."""
    content = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(content) + 1))
        stop = min(len(content), place + int(rng.integers(1, 65)))
        kind = rng.integers(7)
        if kind == 0 and place < len(content):
            content[place] ^= 1 << rng.integers(8)
        elif kind == 1:
            content[place:stop] = rng.bytes(stop - place)
        elif kind == 2:
            width = int(rng.choice((1, 2, 4, 8)))
            edge = EDGES[rng.integers(len(EDGES))] & (1 << 8 * width) - 1
            content[place : place + width] = edge.to_bytes(width, str(rng.choice(("little", "big"))))
        elif kind == 3:
            del content[place:stop]
        elif kind == 4:
            del content[place:]
        elif kind == 5:
            content[place:place] = content[place:stop] * int(rng.integers(1, 9))
        else:
            other = seeds[rng.integers(len(seeds))]
            first = int(rng.integers(len(other) + 1))
            content[place:stop] = other[first : first + int(rng.integers(1, 257))]
    return bytes(content[:LONGEST])


def guided(name: str, seconds: int, seed: int, out: Path) -> tuple[str, bool]:
    """Run a target under atheris in its own process, which libFuzzer ends. Returns its figures and whether it had no fault."""
    log = out / name / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, str(Path(__file__).with_name("fuzz_guided.py")), name, str(out / name), str(seconds), str(seed)]
    with log.open("wb") as file:
        code = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT).returncode
    text = log.read_text(errors="replace")
    if code and not KEPT.search(text):
        raise SystemExit(f"error: atheris did not run: {(text.splitlines() or ['no output'])[-1]} (log: {log})")
    return f"{figures(text)}; log: {log}", code == 0


def figures(log: str) -> str:
    """The output of libFuzzer in one line: coverage in branches of instrumented Python, memory of the process."""
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)", log, re.M))
    covered = re.findall(r"^#\d+\s+(?!pulse)\w+\s+cov: (\d+)", log, re.M) or ["?"]
    tried, rss = stats.get("number_of_executed_units", "?"), stats.get("peak_rss_mb", "?")
    kinds = KEPT.findall(log)
    found = ", ".join(f"{kinds.count(kind)} {words}" for kind, words in KINDS.items())
    return f"{tried} files, {found}, at most {rss} MB resident, coverage {covered[0]} to {covered[-1]}"


if __name__ == "__main__":
    sys.exit(main())
