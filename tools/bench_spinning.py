"""What the bound on OpenMP's spinning (aird_plugin/threads.py) costs on an idle machine, and what it saves on a busy one.

    python tools/bench_spinning.py [--turns 5] [--steps 4] [--beside 2] [--json FILE]

A training step of AIRD from the bank (native16_1m, batch 96, two threads), in processes of its own: with the bound and with
libgomp's default of 300,000 turns, alone and with processes beside it that do nothing but count. A row is the median ratio of the
turns.
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
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from aird_plugin.threads import SPINS, bound_spinning

bound_spinning()

import torch

from aird_plugin import ratios
from aird_plugin.memory import keep_freed_memory
from aird_plugin.paths import expand_arguments
from tools.bench_training import AIRD, BARE, Pair, shared_keys, stepper

# libgomp's own, where OMP_WAIT_POLICY is not set.
DEFAULT_SPINS, THREADS, BATCH = "300000", 2, 96
PAIR = Pair("", ratios.AT_MOST, 1.0, (AIRD, []), (BARE, []), ["network=native16_1m", f"batch_size={BATCH}"])
KEYS = ["rid_negatives=64"]
SPIN = "while True: pass"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="steps a turn")
    parser.add_argument("--beside", type=int, default=2, help="spinning processes beside the busy runs")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", nargs="+", metavar="KEY", help=argparse.SUPPRESS)
    args = expand_arguments(parser.parse_args())
    if args.child:
        return child(args)
    with tempfile.TemporaryDirectory() as scratch:
        shared, taught = shared_keys(PAIR, SimpleNamespace(device="cpu"), Path(scratch))
        keys = [*shared, *taught, *KEYS]
        measure(keys, SPINS, 0, 1)  # builds the bank, which is not counted
        turns = [one_turn(keys, args) for _ in range(args.turns)]
    seconds = {name: [turn[name] for turn in turns] for name in turns[0]}
    idle, busy = (
        (seconds[f"bounded, {state}"], seconds[f"default, {state}"], rates(seconds, state, args.steps))
        for state in ("idle", "busy")
    )
    what = f"{args.beside} processes spin beside it: libgomp's default / bounded spinning"
    rows = [
        ratios.compare("idle: bounded spinning / libgomp's default", ratios.AT_MOST, 1 / 0.95, *idle),
        ratios.compare(what, ratios.AT_LEAST, 20, busy[1], busy[0], busy[2]),
    ]
    ratios.tell(rows, args.json)
    return 0


def one_turn(keys: list[str], args) -> dict[str, float]:
    """Seconds of `args.steps` steps in each of the four cases."""
    cases = {"bounded": SPINS, "default": DEFAULT_SPINS}
    found = {}
    for state, beside in (("idle", 0), ("busy", args.beside)):
        for name, spins in cases.items():
            found[f"{name}, {state}"] = measure(keys, spins, beside, args.steps)
    return found


def measure(keys: list[str], spins: str, beside: int, steps: int) -> float:
    """Seconds of so many steps in a process of its own, after one that is not counted."""
    env = os.environ | {"GOMP_SPINCOUNT": spins, "OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, __file__, "--steps", str(steps), "--child", *keys]
    with spinning(beside):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def spinning(processes: int):
    """Inside, so many processes count without end."""
    running = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def child(args) -> int:
    """Train and print the seconds."""
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    size = SimpleNamespace(steps=1, device="cpu")
    call = stepper(AIRD, args.child, size)
    call()
    size.steps = args.steps
    started = time.perf_counter()
    call()
    print(json.dumps(time.perf_counter() - started))
    return 0


def rates(seconds: dict[str, list[float]], state: str, steps: int) -> str:
    """Images a second of both settings, each in its best turn."""
    bounded, default = (steps * BATCH / min(seconds[f"{name}, {state}"]) for name in ("bounded", "default"))
    return f"{bounded:,.0f} images/s bounded, {default:,.0f} by default"


if __name__ == "__main__":
    sys.exit(main())
