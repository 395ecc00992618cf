"""Profile a training step: a table of operations, and optionally a trace.

    python tools/profile_step.py RECIPE [key=value ...] [--steps 8] [--threads N] [--trace FILE.json.gz]

Trains `--steps` steps after three warm-up steps, with the loop's own `take_step`, and prints the operations with the largest
self time. --trace writes a timeline for a browser's trace viewer. The run folder is temporary; the bank is the recipe's and is
built if missing.
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.config.recipe import load
from aird_plugin.data.loader import loader
from aird_plugin.training.loop import take_step
from aird_plugin.training.state import build_state
from aird_plugin.utils.memory import keep_freed_memory
from aird_plugin.utils.paths import expand_arguments

WARM_UP = 3
ROWS = 20


def main() -> int:
    args = arguments()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        state = build_state(load(args.recipe, [*args.overrides, f"output={scratch}", "val_targets=()"]))
        profile = profiled(state, args.steps)
    device = "cuda" if state.setup.device.type == "cuda" else "cpu"
    print(profile.key_averages().table(sort_by=f"self_{device}_time_total", row_limit=ROWS))
    if args.trace:
        args.trace.parent.mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(args.trace))
        print(f"{args.trace}: {args.trace.stat().st_size / 1e6:.1f} MB")
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, help="default: PyTorch's")
    parser.add_argument("--trace", type=Path, metavar="FILE.json.gz")
    args = expand_arguments(parser.parse_args())
    if args.steps < 1:
        parser.error(f"--steps must be 1 or more, got {args.steps}")
    return args


def profiled(state, steps: int) -> torch.profiler.profile:
    """Profile `steps` steps, after `WARM_UP` steps."""
    accumulate = state.setup.recipe.schedule.gradient_acc
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if state.setup.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    numbers = range((WARM_UP + steps) * accumulate)
    batches = loader(state.setup.source, numbers, state.setup.recipe.data.num_workers, state.setup.device)
    counter = itertools.count()
    for _ in range(WARM_UP):
        take_step(state, itertools.islice(batches, accumulate), next(counter))
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(steps):
            with torch.profiler.record_function("step"):
                take_step(state, itertools.islice(batches, accumulate), next(counter))
        if state.setup.device.type == "cuda":
            torch.cuda.synchronize()
    batches.close()
    return profile


if __name__ == "__main__":
    sys.exit(main())
