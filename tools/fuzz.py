"""Throw broken and hostile files at whatever reads strangers' files. What is not refused in one clear line is a fault.

    python tools/fuzz.py all --seconds 600            coverage-guided, by atheris (pip install atheris; Linux), so long for each
    python tools/fuzz.py pairs --rounds 300           without it: seeded mutations of sound files, the same every time

A line per target says what was tried. A fault ends the target with the file that caused it, kept under --out; a guided run also
keeps there what it goes on from the next time. Targets: see fuzz_targets.py beside this file.
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

from aird_plugin.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.errors import EXPECTED
from aird_plugin.paths import expand_arguments
from tools.fuzz_targets import TARGETS, Target

# No file of a few kilobytes may keep a reader busy for longer.
MOST_SECONDS = 10
LONGEST = 1 << 16
# What libFuzzer calls its findings, and what they are.
KINDS = {"crash": "crashes", "timeout": "hangs", "oom": "out of memory"}
KEPT = re.compile(r"Test unit written to \S*/fault-(\w+)-")
# Values at which lengths and counts go wrong.
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


class Fault(BaseException):
    """A reader did what none may do. No Exception: readers turn whatever a decoder raises into their own refusal."""


def main() -> int:
    args, sound = arguments(), True
    for name in list(TARGETS) if args.target == "all" else [args.target]:
        if args.rounds:
            with tempfile.TemporaryDirectory() as scratch:
                tried, peak = seeded(TARGETS[name], Path(scratch), args.rounds, args.seed, args.out / name)
            print(f"{name}: {tried} files, no fault, at most {peak / 1e6:.1f} MB at once", flush=True)
        else:
            told, well = guided(name, args.seconds, args.seed, args.out)
            print(f"{name}: {told}", flush=True)
            sound = sound and well
    return 0 if sound else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--rounds", type=int, help="so many seeded mutations instead of atheris")
    parser.add_argument("--seconds", type=int, default=60, help="so long under atheris")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"))
    return expand_arguments(parser.parse_args())


def seeded(target: Target, scratch: Path, rounds: int, seed: int, out: Path) -> tuple[int, int]:
    """Read `rounds` mutations of the seeds. Gives how many files, and the largest memory. Raises Fault with the file's name."""
    rng = np.random.default_rng(seed)
    seeds = target.seeds(scratch)
    for content in seeds:
        # What is imported on the way is no file's doing.
        with contextlib.suppress(*EXPECTED):
            target.read(content, scratch)
    worst = 0
    files = [*seeds, *(mutated(rng, seeds) for _ in range(rounds))]
    for content in files:
        try:
            worst = max(worst, watched(target, content, scratch))
        except Fault as fault:
            out.mkdir(parents=True, exist_ok=True)
            place = out / f"fault-{hashlib.sha256(content).hexdigest()[:16]}"
            place.write_bytes(content)
            raise Fault(f"{place}: {fault}") from fault
    return len(files), worst


def watched(target: Target, content: bytes, scratch: Path) -> int:
    """Read one file. Gives the memory that Python and numpy took at once, in bytes. Raises Fault."""

    def too_long(*_):
        raise Fault(f"still reading after {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_long)
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
    """Read one file, or have it refused. A warning that numbers went wrong is raised: what is read from there on is made up."""
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
    """Run a target under atheris, in a process of its own (libFuzzer ends it). Gives its figures, and whether it was sound."""
    log = out / name / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, str(Path(__file__).with_name("fuzz_guided.py")), name, str(out / name), str(seconds), str(seed)]
    with log.open("wb") as file:
        code = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT).returncode
    text = log.read_text(errors="replace")
    if code and not KEPT.search(text):
        raise SystemExit(f"error: atheris did not run: {(text.splitlines() or ['no word'])[-1]} (all it said: {log})")
    return f"{figures(text)}; log: {log}", code == 0


def figures(log: str) -> str:
    """What libFuzzer printed, in one line: coverage is in branches of instrumented Python, memory that of the process."""
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)", log, re.M))
    covered = re.findall(r"^#\d+\s+(?!pulse)\w+\s+cov: (\d+)", log, re.M) or ["?"]
    tried, rss = stats.get("number_of_executed_units", "?"), stats.get("peak_rss_mb", "?")
    kinds = KEPT.findall(log)
    found = ", ".join(f"{kinds.count(kind)} {words}" for kind, words in KINDS.items())
    return f"{tried} files, {found}, at most {rss} MB resident, coverage {covered[0]} to {covered[-1]}"


if __name__ == "__main__":
    sys.exit(main())
