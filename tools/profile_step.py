"""Where a training step spends its time: a table of operations, and a trace to be looked at.

    python tools/profile_step.py RECIPE [key=value ...] [--steps 8] [--threads N] [--trace FILE.json.gz]

Trains `--steps` steps after three that are not counted, through the loop's own `take_step`, and prints the operations that took
most time by themselves. --trace: every operation on a time line, for a browser's trace viewer. The run folder is a scratch one;
the bank is the recipe's, and is built where it is not there.
"""

import argparse
import itertools
import sys
import tempfile
from pathlib import Path

from aird_plugin.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.assemble import assemble
from aird_plugin.data.loader import loader
from aird_plugin.loop import take_step
from aird_plugin.memory import keep_freed_memory
from aird_plugin.paths import expand_arguments
from aird_plugin.recipe import load

UNCOUNTED = 3
ROWS = 20


def main() -> int:
    args = arguments()
    keep_freed_memory()
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        training = assemble(load(args.recipe, [*args.overrides, f"output={scratch}", "val_targets=()"]))
        profile = profiled(training, args.steps)
    on = "cuda" if training.device.type == "cuda" else "cpu"
    print(profile.key_averages().table(sort_by=f"self_{on}_time_total", row_limit=ROWS))
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
    parser.add_argument("--threads", type=int, help="default: as many as PyTorch takes")
    parser.add_argument("--trace", type=Path, metavar="FILE.json.gz")
    args = expand_arguments(parser.parse_args())
    if args.steps < 1:
        parser.error(f"--steps must be 1 or more, got {args.steps}")
    return args


def profiled(training, steps: int) -> torch.profiler.profile:
    """The profile of `steps` steps."""
    accumulate = training.recipe.schedule.gradient_acc
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if training.device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    numbers = range((UNCOUNTED + steps) * accumulate)
    batches = loader(training.source, numbers, training.recipe.data.num_workers, training.device)
    counter = itertools.count()
    for _ in range(UNCOUNTED):
        take_step(training, itertools.islice(batches, accumulate), next(counter))
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(steps):
            with torch.profiler.record_function("step"):
                take_step(training, itertools.islice(batches, accumulate), next(counter))
        if training.device.type == "cuda":
            torch.cuda.synchronize()
    batches.close()
    return profile


if __name__ == "__main__":
    sys.exit(main())
