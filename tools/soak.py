"""A long run of a tiny student, watched from outside: does its memory grow, do its files and threads, does it slow down?

    python tools/soak.py OUT [--steps 20000] [--json FILE]

The run has all that a long one has: bank, relation terms, a checkpoint every 500 steps, a verification every 1,000. Once a
second its resident and private memory, open files, threads and processor time are read from /proc (Linux). Told are the slope of
memory after the first tenth of the steps, with a 95% interval from the means of twenty stretches (seconds beside one another are
alike), and the speed of the last tenth against the second, by the clock and in processor time. Exits with 1 where the slope is
surely above --most-growth, where files or threads grow, or where the last tenth is slower by the clock by more than --slower.
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

from aird_plugin.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.paths import expand_arguments
from aird_plugin.progress import progress
from tools.kill_works import keys, prepare

EVERY_S = 1.0
STRETCHES = 20
# Student's t for 18 degrees of freedom, two-sided 95%.
T_18 = 2.101


@dataclass(frozen=True)
class Glance:
    """What /proc says of the run at a step. Megabytes; cpu: seconds of processor time so far."""

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
    glances, lines = watch(recipe, out, epochs * per_epoch)
    told = findings(glances, lines, epochs * per_epoch)
    for name, value in told.items():
        print(f"{name}: {value:,.4g}" if isinstance(value, float) else f"{name}: {value}")
    if args.json:
        Path(args.json).write_text(json.dumps(told | {"glances": [asdict(glance) for glance in glances]}, indent=1))
    return judged(told, args)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--most-growth", type=float, default=0.5, help="MB per 1,000 steps. default: 0.5")
    parser.add_argument("--slower", type=float, default=3.0, help="per cent. default: 3")
    parser.add_argument("--json", metavar="FILE", help="figures and every glance")
    return expand_arguments(parser.parse_args())


def watch(recipe: Path, out: Path, steps: int) -> tuple[list[Glance], list[dict]]:
    """Run the recipe, glance at it every second. Gives the glances and the run's own log. RuntimeError where it fails."""
    log = recipe.with_suffix(".log")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as told:
        run = subprocess.Popen([sys.executable, str(ROOT / "train.py"), str(recipe)], stdout=told, stderr=told, env=environment)
        glances: list[Glance] = []
        for _ in progress(iter(run.poll, 0), None, "watching", "s"):
            if run.returncode:
                raise RuntimeError(f"the run ended with {run.returncode}: {log.read_text()[-2000:]}")
            time.sleep(EVERY_S)
            if (step := last_step(out / "metrics.jsonl")) and (seen := glance(run.pid, step)):
                glances.append(seen)
    return glances, [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def last_step(metrics: Path) -> int:
    """The step of the last whole line; 0 before the first."""
    if not metrics.exists():
        return 0
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - 4096))
        whole = [line for line in file.read().split(b"\n")[:-1] if line.startswith(b'{"step"')]
    return json.loads(whole[-1])["step"] if whole else 0


def glance(pid: int, step: int) -> Glance | None:
    """None for a process that has just ended."""
    process = Path(f"/proc/{pid}")
    try:
        _, resident, shared, *_ = map(int, (process / "statm").read_text().split())
        page = os.sysconf("SC_PAGESIZE") / 1e6
        counts = [len(list((process / part).iterdir())) for part in ("fd", "task")]
        # After the name, which is in brackets and may hold anything: user and system time are the 12th and 13th.
        ticks = sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:13]))
        cpu = ticks / os.sysconf("SC_CLK_TCK")
        return Glance(step, resident * page, (resident - shared) * page, *counts, cpu) if resident else None
    except (OSError, ValueError):
        return None


def findings(glances: list[Glance], lines: list[dict], steps: int) -> dict:
    """What is to be told of them."""
    late = [glance for glance in glances if glance.step > steps // 10]
    if len(late) < STRETCHES:
        raise ValueError(f"{len(late)} glances after the first tenth say nothing, {STRETCHES} are needed; give more --steps")
    told: dict = {"steps": lines[-1]["step"], "glances": len(glances)}
    for name in ("resident", "private"):
        slope, half = slope_of([glance.step / 1000 for glance in late], [getattr(glance, name) for glance in late])
        told |= {f"{name} MB per 1,000 steps": slope, f"{name}, half of the 95% interval": half}
        told[f"{name} MB, first and last stretch"] = [round(part, 1) for part in ends(late, name)]
    for name in ("files", "threads"):
        fifths = late[: len(late) // 5], late[-len(late) // 5 :]
        told[name] = [int(np.median([getattr(seen, name) for seen in part])) for part in fifths]
    tenths = [(steps * part // 10, steps * (part + 1) // 10) for part in (1, 9)]
    second, last = (speed(lines, *tenth) for tenth in tenths)
    cpu_second, cpu_last = (cpu_of(glances, *tenth) for tenth in tenths)
    return told | {
        "last tenth against the second, per cent": 100 * (last / second - 1),
        "its processor time a step against the second's, per cent": 100 * (cpu_last / cpu_second - 1),
    }


def slope_of(x: list[float], y: list[float]) -> tuple[float, float]:
    """Slope of a line through the means of the stretches, and half of its 95% interval."""
    x_S, y_S = (np.array([part.mean() for part in np.array_split(np.array(values), STRETCHES)]) for values in (x, y))
    centred_S = x_S - x_S.mean()
    slope = (centred_S @ y_S) / (centred_S @ centred_S)
    rest_S = y_S - y_S.mean() - slope * centred_S
    return float(slope), float(T_18 * np.sqrt(rest_S @ rest_S / (STRETCHES - 2) / (centred_S @ centred_S)))


def ends(glances: list[Glance], name: str) -> tuple[float, float]:
    parts = np.array_split(np.array([getattr(glance, name) for glance in glances]), STRETCHES)
    return float(parts[0].mean()), float(parts[-1].mean())


def speed(lines: list[dict], first: int, last: int) -> float:
    """Mean faces a second over the steps after `first` up to `last`, whatever they held."""
    rates = [line["samples_per_s"] for line in lines if first < line["step"] <= last]
    return len(rates) / sum(1 / rate for rate in rates)


def cpu_of(glances: list[Glance], first: int, last: int) -> float:
    """Processor seconds a step between the glances nearest to both ends: other programs' load is not in it, mostly."""
    begin, end = (min(glances, key=lambda seen, at=step: abs(seen.step - at)) for step in (first, last))
    return (end.cpu - begin.cpu) / max(end.step - begin.step, 1)


def judged(told: dict, args) -> int:
    """Exit code, with a line for each promise that does not hold."""
    slope, half = told["private MB per 1,000 steps"], told["private, half of the 95% interval"]
    broken = []
    if slope - half > args.most_growth:
        broken.append(f"memory grows by {slope:.2f} MB per 1,000 steps")
    for name in ("files", "threads"):
        before, after = told[name]
        broken += [f"{name} grew from {before} to {after}"] * (after > before)
    if (faster := told["last tenth against the second, per cent"]) < -args.slower:
        broken.append(f"the last tenth was slower by {-faster:.1f}%")
    for line in broken:
        print(f"broken: {line}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
