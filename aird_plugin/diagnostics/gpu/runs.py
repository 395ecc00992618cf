"""Training runs on the device: resuming, the device of the bank, torch.compile, and ranks against one process."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from aird_plugin.config.recipe import Recipe
from aird_plugin.data.loader import loader
from aird_plugin.diagnostics.gpu.check import FAILED, OK, SKIPPED, CheckContext, Row, bounded, largest
from aird_plugin.diagnostics.gpu.processes import run_command
from aird_plugin.diagnostics.gpu.synthetic import BATCH, built, reduced_recipe
from aird_plugin.training.deterministic import deterministic
from aird_plugin.training.loop import resume, save, set_learning_rate, take_step
from aird_plugin.training.optim import learning_rate
from aird_plugin.training.state import TrainState
from aird_plugin.utils.package_recipes import recipes_folder

AIRD = "ablations/faces15k_small_lr16_align.py"
STEPS, STOPPED_AT = 6, 3
NUMBERS = range(4)
NEGLIGIBLE = 1e-6
RUNNERS = {1: "one rank under torchrun", 2: "two ranks under torchrun, half the batch each"}


def aird_recipe(context: CheckContext, name: str, *keys: str) -> Recipe:
    """The small AIRD recipe with a run folder of its own."""
    run = f"output={context.scratch / 'runs' / name}"
    return reduced_recipe(recipes_folder() / AIRD, context, f"device={context.device.type}", run, *keys)


def take_steps(state: TrainState, first: int, last: int) -> list[float]:
    """Train steps `first` to `last`, and return their losses."""
    losses = []
    schedule, per_epoch = state.setup.recipe.schedule, state.setup.steps_per_epoch
    for step, batch in enumerate(loader(state.setup.source, range(first, last), 0, state.setup.device), first):
        set_learning_rate(state, learning_rate(schedule, step, per_epoch))
        losses.append(take_step(state, [batch], step)["loss"].item())
    return losses


def check_resume(context: CheckContext) -> Iterator[Row]:
    """A stopped and resumed run against an uninterrupted one, with deterministic=True: equal bits."""
    recipe = aird_recipe(context, "resume", "deterministic=True", "resume=False")
    with deterministic(True):
        whole = built(recipe)
        take_steps(whole, 0, STEPS)
        part = built(recipe)
        take_steps(part, 0, STOPPED_AT)
        save(part, STOPPED_AT)
        again = built(aird_recipe(context, "resume", "deterministic=True"))
        first = resume(again)
        take_steps(again, first, STEPS)
    assert first == STOPPED_AT, f"resumed at step {first}"
    pairs = zip(weights_of(whole), weights_of(again), strict=True)
    unequal = sum(not torch.equal(one, other) for one, other in pairs)
    figure = f"{unequal} of {len(weights_of(whole))} tensors differ"
    yield Row("resume with deterministic=True, bit for bit", FAILED if unequal else OK, figure, "0")


def weights_of(state: TrainState) -> list[torch.Tensor]:
    """All weights and statistics of student, terms and head."""
    parts = (state.setup.student, state.setup.objective, state.head)
    return [tensor for part in parts for tensor in part.state_dict().values()]


def check_bank(context: CheckContext) -> Iterator[Row]:
    """Batches of a bank on the device against those of one mapped from disk: equal."""
    held, mapped = (built(aird_recipe(context, "bank", f"bank_on={place}")).setup for place in ("device", "memory"))
    batches = zip(loader(held.source, NUMBERS, 0, context.device), loader(mapped.source, NUMBERS, 0, context.device), strict=True)
    unequal = 0
    for one, other in batches:
        expected = vars(mapped.to_device(other))
        for name, tensor in vars(held.to_device(one)).items():
            unequal += isinstance(tensor, torch.Tensor) and not torch.equal(tensor, expected[name].to(tensor.device))
    status = FAILED if unequal else OK
    yield Row("bank on the device and mapped from disk", status, f"{unequal} tensors of {len(NUMBERS)} batches differ", "0")


def check_compile(context: CheckContext) -> Iterator[Row]:
    """Losses of compile=True against the eager network's over a few steps."""
    eager = take_steps(built(aird_recipe(context, "eager")), 0, 2)
    compiled = take_steps(built(aird_recipe(context, "compiled", "compile=True")), 0, 2)
    difference = largest(abs(a - b) / abs(a) for a, b in zip(eager, compiled, strict=True))
    yield bounded("compile=True, relative difference of the loss", difference, 1e-3)


def check_ranks(context: CheckContext) -> Iterator[Row]:
    """The losses of an epoch under torchrun (NCCL on GPUs, gloo on CPUs) against one process, with frozen statistics."""
    available = torch.cuda.device_count() if context.device.type == "cuda" else 2
    alone = train_in_ranks(context, 0)
    for ranks, what in RUNNERS.items():
        if ranks > available:
            yield Row(what, SKIPPED, f"{available} GPU(s) on this machine")
            continue
        losses = train_in_ranks(context, ranks)
        difference = largest(abs(a - b) / abs(a) for a, b in zip(alone, losses, strict=True))
        yield bounded(f"{what}, relative difference of the loss", difference, 1e-3, f"{len(losses)} steps")


def train_in_ranks(context: CheckContext, ranks: int) -> list[float]:
    """The losses that a run logs; ranks: 0 without torchrun."""
    keys = ["batchnorm=frozen", "num_epoch=1", "frequent=1", f"batch_size={BATCH // max(ranks, 1)}", "resume=False"]
    # A rank that waits longer ends the run with an error that names the other one. Every rank draws RID's anchors and negatives
    # with a seed of its own: two ranks have other ones than one, and the term must not count. It still takes part in the step.
    keys += [f"rank_timeout={context.limit_s / 6}", f"rid_weight={NEGLIGIBLE}"]
    recipe = aird_recipe(context, f"ranks{ranks}", *keys)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks else []
    aird(context, [*launch, "-m", "aird_plugin", "train"], recipe, recipes_folder() / AIRD)
    lines = (Path(recipe.run.output) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def aird(context: CheckContext, command: list[str], recipe: Recipe, path: Path, *more: str) -> None:
    """Run a command of the package on a resolved recipe. Raises RuntimeError with the last line of its output."""
    # Terms and margin are stated by the file, as paths of classes.
    flat = {key: value for key, value in recipe.flat().items() if key != "terms"}
    keys = [f"{key}={value!r}" for key, value in flat.items()]
    log = Path(f"{recipe.run.output}.log")
    run_command([*command, str(path), *keys, *more], log, context.limit_s / 3, torch.get_num_threads())
