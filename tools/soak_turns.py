"""Is a step late in a long run dearer than an early one? Both states of one run, timed in turns in one process.

    python tools/soak_turns.py OUT [--early 3000] [--late 18000] [--turns 12] [--json FILE]

soak.py beside this file watches one run by the clock, and on a shared machine the clock wanders by more than a few per cent. Here
the run is trained to both steps, its weights and optimizers are kept at each, and then `--steps` steps are trained from one and
the other in turns: what the machine does meanwhile meets both.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.threads import bound_spinning

bound_spinning()

import torch

from aird_plugin.assemble import Training, assemble
from aird_plugin.loop import set_learning_rate, take_step
from aird_plugin.memory import keep_freed_memory
from aird_plugin.paths import expand_arguments
from aird_plugin.progress import progress
from aird_plugin.ratios import AT_MOST, compare, in_turns, tell
from aird_plugin.recipe import from_flat
from aird_plugin.schedule import learning_rate
from tools.kill_works import keys, prepare

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
        training = assemble(from_flat(keys(inputs, Path(scratch)) | {"num_epoch": args.late, "val_targets": ()}))
        calls = {}
        first = 0
        for name, last in (("early", args.early), ("late", args.late)):
            for step in progress(range(first, last), last - first, f"training to step {last}", "steps"):
                one_step(training, step)
            calls[name], first = again(training, last, args.steps), last
        seconds = in_turns(calls, args.turns)
    what = f"a step after {args.late:,} steps / after {args.early:,}"
    tell(
        [compare(what, AT_MOST, TARGET, seconds["late"], seconds["early"], f"{args.turns} turns of {args.steps} steps")],
        args.json,
    )
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="keeps the inputs; soak.py's do")
    parser.add_argument("--early", type=int, default=3000)
    parser.add_argument("--late", type=int, default=18000)
    parser.add_argument("--steps", type=int, default=200, help="steps a turn")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--json", metavar="FILE")
    return expand_arguments(parser.parse_args())


def one_step(training: Training, step: int) -> None:
    set_learning_rate(training, learning_rate(training.recipe.schedule, step, training.steps_per_epoch))
    take_step(training, iter([training.source[step]]), step)


def again(training: Training, first: int, steps: int) -> Callable[[], None]:
    """A call that trains `steps` steps from the state that the training is in now."""
    parts = (training.student, training.objective, training.head, training.shared_optimizer, training.head_optimizer)
    states = copy.deepcopy([part.state_dict() for part in parts])

    def call() -> None:
        for part, state in zip(parts, copy.deepcopy(states), strict=True):
            part.load_state_dict(state)
        for step in range(first, first + steps):
            one_step(training, step)

    return call


if __name__ == "__main__":
    sys.exit(main())
