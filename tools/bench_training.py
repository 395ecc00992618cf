"""Time of a training step as ratios: AIRD / student alone, online / bank, two ranks / one, bf16, compiled, deterministic.

    python tools/bench_training.py [ROW ...] [--turns 9] [--steps 4] [--json FILE] [--device cuda]

Both runs of a row train in turns, `--steps` steps per turn, and the row is the median ratio of the turns. The bare student has
the identity loss only, on the same LR images from the same bank: no teacher, no terms. The images are faces15k of $AIRD_DATA,
or its first 256 for a large teacher; teachers have random weights, which are as fast as trained ones. Banks are built in a
scratch folder, or kept in --scratch. One CPU thread, except two in the row of two ranks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.utils import distributed
from aird_plugin.utils.memory import keep_freed_memory
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.rank_failure import process_group
from tools.lib import ratios
from tools.lib.torchrun import torchrun_command
from tools.lib.training_pairs import AIRD, Pair, Side, pairs
from tools.lib.training_steps import shared_keys, stepper

PATIENCE_S = 600


def main() -> int:
    args = arguments()
    keep_freed_memory()
    torch.set_num_threads(1)
    if args.child:
        return child(args)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(args.scratch or temporary)
        for name in args.rows or pairs(args.device):
            rows.append(measure(pairs(args.device)[name], args, scratch))
            print(ratios.table(rows[-1:]).splitlines()[-1], flush=True)
    ratios.print_rows(rows, args.json)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(pairs('cuda'))}. default: all rows of the device")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4, help="steps per turn")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--scratch", metavar="DIR", help="keep images, teachers and banks in this folder")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--child", nargs="+", metavar="KEY", help=argparse.SUPPRESS)
    args = expand_arguments(parser.parse_args())
    if unknown := set(args.rows) - set(pairs(args.device)):
        parser.error(f"no row {', '.join(sorted(unknown))} on {args.device}; there are {', '.join(pairs(args.device))}")
    return args


def measure(pair: Pair, args, scratch: Path) -> ratios.Row:
    """Measure both sides of a row in turns."""
    shared, teacher = shared_keys(pair, args.device, scratch)
    sides = [(recipe, [*shared, *(teacher if recipe == AIRD else []), *keys]) for recipe, keys in (pair.over, pair.under)]
    if pair.ranks == (1, 1):
        calls = {name: partial(stepper(*side), args.steps) for name, side in zip(("over", "under"), sides, strict=True)}
        seconds = ratios.in_turns(calls, args.turns)
    else:
        seconds = {"over": [], "under": []}
        for _ in range(args.turns):
            for name, side, ranks in zip(("over", "under"), sides, pair.ranks, strict=True):
                seconds[name].append(under_torchrun(side, ranks, max(pair.ranks) // ranks, args))
    over, under = (min(seconds[name]) / args.steps * 1e3 for name in ("over", "under"))
    return ratios.compare(
        pair.what, pair.bound, pair.target, *seconds.values(), detail=f"{over:.1f} over {under:.1f} ms per step"
    )


def under_torchrun(side: Side, ranks: int, threads: int, args) -> float:
    """Seconds of one turn on several ranks, after a warm-up turn."""
    recipe, keys = side
    options = ["--steps", str(args.steps), "--device", args.device, "--child", recipe, *keys]
    command = [*torchrun_command(__file__, ranks), *options]
    env = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def child(args) -> int:
    """One side of a row on this rank; rank 0 prints the seconds."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    recipe, *keys = args.child
    with process_group(torch.device(args.device), PATIENCE_S):
        call = stepper(recipe, keys)
        call(args.steps)
        distributed.barrier()
        started = time.perf_counter()
        call(args.steps)
        if distributed.rank() == 0:
            print(json.dumps(time.perf_counter() - started))
    return 0


if __name__ == "__main__":
    sys.exit(main())
