"""Time of a late training step against an early one: both states of one run, timed in turns in one process.

    python tools/soak_step_time.py OUT [--early 3000] [--late 18000] [--turns 12] [--json FILE]

soak.py monitors one run in wall time, which varies by more than a few per cent on a shared machine. This tool trains the run to
both steps, keeps weights and optimizers at each, and then trains `--steps` steps from both states in turns, so that other load
affects both alike.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import set_learning_rate, take_step
from aird_plugin.training.optim import learning_rate
from aird_plugin.training.state import TrainState, build_state
from aird_plugin.utils.memory import keep_freed_memory
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from tools.lib.kill_works import keys, prepare
from tools.lib.ratios import AT_MOST, compare, in_turns, print_rows

TARGET = 1.03


def main() -> int:
    args = arguments()
    keep_freed_memory()
    torch.set_num_threads(1)
    inputs = args.out / "inputs"
    if not (inputs / "run").exists():
        inputs.mkdir(parents=True, exist_ok=True)
        prepare(inputs)
    with tempfile.TemporaryDirectory() as scratch:
        state = build_state(from_flat(keys(inputs, Path(scratch)) | {"num_epoch": args.late, "val_targets": ()}))
        calls = {}
        first = 0
        for name, last in (("early", args.early), ("late", args.late)):
            for step in progress(range(first, last), last - first, f"training to step {last}", "steps"):
                one_step(state, step)
            calls[name], first = from_state(state, last, args.steps), last
        seconds = in_turns(calls, args.turns)
    what = f"a step after {args.late:,} steps / after {args.early:,}"
    print_rows(
        [compare(what, AT_MOST, TARGET, seconds["late"], seconds["early"], f"{args.turns} turns of {args.steps} steps")],
        args.json,
    )
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the inputs; soak.py's can be reused")
    parser.add_argument("--early", type=int, default=3000)
    parser.add_argument("--late", type=int, default=18000)
    parser.add_argument("--steps", type=int, default=200, help="steps per turn")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--json", metavar="FILE")
    return expand_arguments(parser.parse_args())


def one_step(state: TrainState, step: int) -> None:
    set_learning_rate(state, learning_rate(state.setup.recipe.schedule, step, state.setup.steps_per_epoch))
    take_step(state, iter([state.setup.source[step]]), step)


def from_state(state: TrainState, first: int, steps: int) -> Callable[[], None]:
    """A call that trains `steps` steps from the current state."""
    parts = (state.setup.student, state.setup.objective, state.head, state.shared_optimizer, state.head_optimizer)
    states = copy.deepcopy([part.state_dict() for part in parts])

    def call() -> None:
        for part, saved in zip(parts, copy.deepcopy(states), strict=True):
            part.load_state_dict(saved)
        for step in range(first, first + steps):
            one_step(state, step)

    return call


if __name__ == "__main__":
    sys.exit(main())
