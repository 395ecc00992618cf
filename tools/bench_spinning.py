"""The bound on OpenMP's spinning (aird_plugin/utils/threads.py): its cost on an idle machine and its gain on a busy one.

    python tools/bench_spinning.py [--turns 5] [--steps 4] [--beside 2] [--json FILE]

A training step of AIRD from the bank (native16_1m, batch 96, two threads) in its own process: with the bound and with libgomp's
default spin count of 300,000, alone and beside processes in a busy loop. A row is the median ratio of the turns.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from aird_plugin.utils.threads import SPINS, bound_spinning

bound_spinning()

import torch

from aird_plugin.utils.memory import keep_freed_memory
from aird_plugin.utils.paths import expand_arguments
from tools.lib import ratios
from tools.lib.training_pairs import AIRD, BARE, Pair
from tools.lib.training_steps import shared_keys, stepper

# libgomp's default if OMP_WAIT_POLICY is not set.
DEFAULT_SPINS, THREADS, BATCH = "300000", 2, 96
PAIR = Pair("", ratios.AT_MOST, 1.0, (AIRD, []), (BARE, []), ["network=native16_1m", f"batch_size={BATCH}"])
KEYS = ["rid_negatives=64"]
# Ends with the process that started it, however that ends.
SPIN = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps per turn")
    parser.add_argument("--beside", type=int, default=2, help="busy processes beside the busy runs")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", nargs="+", metavar="KEY", help=argparse.SUPPRESS)
    args = expand_arguments(parser.parse_args())
    if args.child:
        return child(args)
    with tempfile.TemporaryDirectory() as scratch:
        shared, teacher = shared_keys(PAIR, "cpu", Path(scratch))
        keys = [*shared, *teacher, *KEYS]
        measure(keys, SPINS, 0, 1)  # builds the bank, not timed
        turns = [one_turn(keys, args) for _ in range(args.turns)]
    seconds = {name: [turn[name] for turn in turns] for name in turns[0]}
    idle, busy = (
        (seconds[f"bounded, {state}"], seconds[f"default, {state}"], rates(seconds, state, args.steps))
        for state in ("idle", "busy")
    )
    what = f"{args.beside} busy process(es) beside it: libgomp's default / bounded spinning"
    rows = [
        ratios.compare("idle: bounded spinning / libgomp's default", ratios.AT_MOST, 1 / 0.95, *idle),
        ratios.compare(what, ratios.AT_LEAST, 20, busy[1], busy[0], busy[2]),
    ]
    ratios.print_rows(rows, args.json)
    return 0


def one_turn(keys: list[str], args) -> dict[str, float]:
    """Seconds of `args.steps` steps in each of the four cases, by name."""
    cases = {"bounded": SPINS, "default": DEFAULT_SPINS}
    found = {}
    for state, beside in (("idle", 0), ("busy", args.beside)):
        for name, spins in cases.items():
            found[f"{name}, {state}"] = measure(keys, spins, beside, args.steps)
    return found


def measure(keys: list[str], spins: str, beside: int, steps: int) -> float:
    """Seconds of `steps` steps in a separate process, after one warm-up step. beside: busy processes."""
    env = os.environ | {"GOMP_SPINCOUNT": spins, "OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, __file__, "--steps", str(steps), "--child", *keys]
    with spinning(beside):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def spinning(processes: int):
    """Run this many busy processes during the block."""
    running = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def child(args) -> int:
    """Train in this process and print the seconds."""
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    call = stepper(AIRD, args.child)
    call(1)
    started = time.perf_counter()
    call(args.steps)
    print(json.dumps(time.perf_counter() - started))
    return 0


def rates(seconds: dict[str, list[float]], state: str, steps: int) -> str:
    """Images per second of both settings, each in its best turn."""
    bounded, default = (steps * BATCH / min(seconds[f"{name}, {state}"]) for name in ("bounded", "default"))
    return f"{bounded:,.0f} images/s bounded, {default:,.0f} by default"


if __name__ == "__main__":
    sys.exit(main())
