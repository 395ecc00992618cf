"""Photos per second, processor time and memory of `aird align`: each run is the command itself, with its start.

    python tools/bench_align.py PHOTOS --detector det_500m.onnx --counts 200 --workers 1 2 --turns 3
    python tools/bench_align.py PHOTOS --detector det_500m.onnx --counts 1000 10000

A set of each count is made of hard links to the photos of PHOTOS, and cropped with each number of processes, in turns. On a busy
machine the processor time of a photo is the figure to read; MiB is the largest process's peak.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.alignment.photos import photos_in
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.paths import expand_arguments

ROOT = Path(__file__).resolve().parents[1]


class Run(NamedTuple):
    """One run of the command: seconds by the clock and of the processors, of all its processes; the peak of the largest."""

    seconds: float
    processor_s: float
    peak_mib: float


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", metavar="PHOTOS", type=Path, help="folder of photos")
    parser.add_argument("--detector", required=True, metavar="FILE", help="InsightFace's detector")
    parser.add_argument("--counts", type=int, nargs="+", default=[200], metavar="N", help="photos of a run (200)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], metavar="N", help="processes of a run (1)")
    parser.add_argument("--turns", type=int, default=1, metavar="N", help="runs of each (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    args = expand_arguments(parser.parse_args(argv))
    rows = []
    with tempfile.TemporaryDirectory(dir=args.photos.resolve().parent) as scratch:
        for count in args.counts:
            folder = Path(scratch) / f"{count}"
            link_photos(args.photos, folder, count)
            runs: dict[int, list[Run]] = {workers: [] for workers in args.workers}
            for turn in range(args.turns):
                for workers in args.workers if turn % 2 == 0 else reversed(args.workers):
                    runs[workers].append(one_run(folder, Path(scratch) / "out", args.detector, workers))
            rows += [row_of(count, workers, found, runs[args.workers[0]]) for workers, found in runs.items()]
    print(table(rows))
    if args.json:
        write_atomically(args.json, json.dumps(rows, indent=1).encode())
    return 0


def link_photos(photos: Path, folder: Path, count: int) -> None:
    """A folder with `count` names for the photos, again and again, a thousand in each subfolder."""
    names, _ = photos_in(photos)
    for number in range(count):
        source = photos / names[number % len(names)]
        target = folder / f"{number // 1000:03d}" / f"{number:07d}{source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)


def one_run(folder: Path, out: Path, detector: str, workers: int) -> Run:
    """Run `aird align` into an empty folder. Raises RuntimeError with its last words where it fails."""
    shutil.rmtree(out, ignore_errors=True)
    words = ["align", str(folder), "--out", str(out), "--detector", detector, "--workers", str(workers)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([sys.executable, "-m", "aird_plugin", *words], env=environment, stdout=said, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        if child.returncode:
            raise RuntimeError(f"aird {' '.join(words)}: {said.read().decode(errors='replace')[-500:]}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def row_of(count: int, workers: int, runs: list[Run], first: list[Run]) -> dict:
    """Medians over the turns. faster: how many times as fast as the first number of processes, turn by turn."""
    return {
        "photos": count,
        "processes": workers,
        "photos_per_s": round(count / statistics.median(run.seconds for run in runs), 2),
        "faster": round(statistics.median(one.seconds / run.seconds for run, one in zip(runs, first, strict=True)), 2),
        "processor_ms": round(1000 * statistics.median(run.processor_s for run in runs) / count, 1),
        "peak_mib": round(max(run.peak_mib for run in runs)),
    }


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    head = list(rows[0])
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(f'{value:,}' for value in row.values())} |" for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
