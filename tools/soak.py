"""A long run of a tiny student, monitored from outside: growth of memory, open files and threads, and loss of speed.

    python tools/soak.py OUT [--steps 20000] [--json FILE]

The run has a bank, relation terms, a checkpoint every 500 steps and a verification every 1,000. Once per second its resident
and private memory, open files, threads and CPU time are read from /proc (Linux). Printed are the slope of memory after the
first tenth of the steps, with a 95% interval from the means of 20 segments (neighbouring samples are correlated), and the speed
of the last tenth against the second one, in wall time and CPU time. Exits with 1 if the slope is significantly above
--most-growth, if files or threads grow, or if the last tenth is slower in wall time by more than --slower.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from tools.lib.kill_works import keys, prepare

EVERY_S = 1.0
SEGMENTS = 20
# Student's t for 18 degrees of freedom, two-sided 95%.
T_18 = 2.101


@dataclass(frozen=True)
class Sample:
    """Figures of /proc at a step. Memory in MB; cpu: CPU seconds so far."""

    step: int
    resident: float
    private: float
    files: int
    threads: int
    cpu: float


def main() -> int:
    args = arguments()
    inputs, out = args.out / "inputs", args.out / "run"
    if not (inputs / "run").exists():
        inputs.mkdir(parents=True, exist_ok=True)
        prepare(inputs)
    shutil.rmtree(out, ignore_errors=True)
    recipe = args.out / "soak.py"
    per_epoch = 3
    epochs = -(-args.steps // per_epoch)
    settings = keys(inputs, out) | {"num_epoch": epochs, "save_steps": 500, "verbose": 1000, "frequent": 20, "resume": False}
    recipe.write_text(f"from easydict import EasyDict\n\nconfig = EasyDict({settings!r})\n")
    samples, lines = monitor(recipe, out, epochs * per_epoch)
    figures = summarise(samples, lines, epochs * per_epoch)
    for name, value in figures.items():
        print(f"{name}: {value:,.4g}" if isinstance(value, float) else f"{name}: {value}")
    if args.json:
        Path(args.json).write_text(json.dumps(figures | {"glances": [asdict(sample) for sample in samples]}, indent=1))
    return judge(figures, args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--most-growth", type=float, default=0.5, help="MB per 1,000 steps (0.5)")
    parser.add_argument("--slower", type=float, default=3.0, help="per cent (3)")
    parser.add_argument("--json", metavar="FILE", help="write the figures and every sample to this file")
    return expand_arguments(parser.parse_args())


def monitor(recipe: Path, out: Path, steps: int) -> tuple[list[Sample], list[dict]]:
    """Run the recipe and sample it every second. Returns the samples and the lines of metrics.jsonl. RuntimeError if it fails."""
    log = recipe.with_suffix(".log")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        run = subprocess.Popen([sys.executable, str(ROOT / "train.py"), str(recipe)], stdout=file, stderr=file, env=environment)
        samples: list[Sample] = []
        for _ in progress(iter(run.poll, 0), None, "monitoring", "s"):
            if run.returncode:
                raise RuntimeError(f"the run ended with {run.returncode}: {log.read_text()[-2000:]}")
            time.sleep(EVERY_S)
            if (step := last_step(out / "metrics.jsonl")) and (sample := take_sample(run.pid, step)):
                samples.append(sample)
    return samples, [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def last_step(metrics: Path) -> int:
    """The step of the last complete line; 0 before the first."""
    if not metrics.exists():
        return 0
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - 4096))
        complete = [line for line in file.read().split(b"\n")[:-1] if line.startswith(b'{"step"')]
    return json.loads(complete[-1])["step"] if complete else 0


def take_sample(pid: int, step: int) -> Sample | None:
    """Read /proc; None if the process has just ended."""
    process = Path(f"/proc/{pid}")
    try:
        _, resident, shared, *_ = map(int, (process / "statm").read_text().split())
        page = os.sysconf("SC_PAGESIZE") / 1e6
        counts = [len(list((process / part).iterdir())) for part in ("fd", "task")]
        # Fields after the name, which is in parentheses and may contain anything: user and system time are the 12th and 13th.
        ticks = sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
        cpu = ticks / os.sysconf("SC_CLK_TCK")
        return Sample(step, resident * page, (resident - shared) * page, *counts, cpu) if resident else None
    except (OSError, ValueError):
        return None


def summarise(samples: list[Sample], lines: list[dict], steps: int) -> dict:
    """The figures of a run, by name."""
    late = [sample for sample in samples if sample.step > steps // 10]
    if len(late) < SEGMENTS:
        raise ValueError(f"{len(late)} samples after the first tenth, {SEGMENTS} are needed; set more --steps")
    figures: dict = {"steps": lines[-1]["step"], "glances": len(samples)}
    for name in ("resident", "private"):
        slope, half = slope_of([sample.step / 1000 for sample in late], [getattr(sample, name) for sample in late])
        figures |= {f"{name} MB per 1,000 steps": slope, f"{name}, half of the 95% interval": half}
        figures[f"{name} MB, first and last stretch"] = [round(part, 1) for part in ends(late, name)]
    for name in ("files", "threads"):
        fifths = late[: len(late) // 5], late[-len(late) // 5 :]
        figures[name] = [int(np.median([getattr(sample, name) for sample in part])) for part in fifths]
    tenths = [(steps * part // 10, steps * (part + 1) // 10) for part in (1, 9)]
    second, last = (speed(lines, *tenth) for tenth in tenths)
    cpu_second, cpu_last = (cpu_of(samples, *tenth) for tenth in tenths)
    return figures | {
        "last tenth against the second, per cent": 100 * (last / second - 1),
        "its processor time a step against the second's, per cent": 100 * (cpu_last / cpu_second - 1),
    }


def slope_of(x: list[float], y: list[float]) -> tuple[float, float]:
    """Slope of a line through the means of the segments, and half of its 95% interval."""
    x_S, y_S = (np.array([part.mean() for part in np.array_split(np.array(values), SEGMENTS)]) for values in (x, y))
    centered_S = x_S - x_S.mean()
    slope = (centered_S @ y_S) / (centered_S @ centered_S)
    rest_S = y_S - y_S.mean() - slope * centered_S
    return float(slope), float(T_18 * np.sqrt(rest_S @ rest_S / (SEGMENTS - 2) / (centered_S @ centered_S)))


def ends(samples: list[Sample], name: str) -> tuple[float, float]:
    parts = np.array_split(np.array([getattr(sample, name) for sample in samples]), SEGMENTS)
    return float(parts[0].mean()), float(parts[-1].mean())


def speed(lines: list[dict], first: int, last: int) -> float:
    """Mean images per second over the steps after `first` up to `last`."""
    rates = [line["samples_per_s"] for line in lines if first < line["step"] <= last]
    return len(rates) / sum(1 / rate for rate in rates)


def cpu_of(samples: list[Sample], first: int, last: int) -> float:
    """CPU seconds per step between the samples nearest to both ends; mostly independent of other load."""
    begin, end = (min(samples, key=lambda sample, at=step: abs(sample.step - at)) for step in (first, last))
    return (end.cpu - begin.cpu) / max(end.step - begin.step, 1)


def judge(figures: dict, args) -> int:
    """The exit status; prints a line for each violated limit."""
    slope, half = figures["private MB per 1,000 steps"], figures["private, half of the 95% interval"]
    broken = []
    if slope - half > args.most_growth:
        broken.append(f"memory grows by {slope:.2f} MB per 1,000 steps")
    for name in ("files", "threads"):
        before, after = figures[name]
        broken += [f"{name} grew from {before} to {after}"] * (after > before)
    if (faster := figures["last tenth against the second, per cent"]) < -args.slower:
        broken.append(f"the last tenth was slower by {-faster:.1f}%")
    for line in broken:
        print(f"broken: {line}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
