"""resume_from: a new run starts from the student and the class centers of another run's newest checkpoint."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aird_plugin.config.recipe import Recipe
from aird_plugin.models.head import Head
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.registry import ONNX
from aird_plugin.training import checkpoint
from aird_plugin.training.optim import ScheduleConfig, learning_rate
from aird_plugin.training.run_folder import read_metadata
from aird_plugin.utils import distributed

CHECKPOINTS = "checkpoints"


def source_problem(run: str) -> str | None:
    """Why the path is not a run with a checkpoint; None if it is."""
    try:
        read_metadata(Path(run))
    except (OSError, ValueError) as error:
        return str(error) if Path(run).exists() else "not there"
    if not checkpoint.complete(Path(run) / CHECKPOINTS):
        return f"no checkpoint in {Path(run) / CHECKPOINTS}; to take the weights of its model.pt alone, set student_init"
    return None


def is_begun(recipe: Recipe) -> bool:
    """Whether the run has a checkpoint of its own, from which it goes on."""
    return recipe.run.resume and bool(checkpoint.complete(Path(recipe.run.checkpoints)))


def check_resume_from(recipe: Recipe, student: nn.Module, embedding_size: int) -> None:
    """ValueError where the other run does not fit: it is this one, or differs in network, input, width or identities."""
    source = recipe.run.resume_from
    if not source or is_begun(recipe):
        return
    if Path(source).resolve() == Path(recipe.run.output).resolve():
        raise ValueError(
            f"resume_from={source} is the output too; without resume_from, the same output goes on, with a larger num_epoch"
        )
    if recipe.student.student_init and recipe.student.network != ONNX:
        raise ValueError("resume_from and student_init both give the student its first weights; set one of them")
    theirs = read_metadata(Path(source))
    own = {"network": recipe.student.network, "embedding_size": embedding_size}
    if isinstance(student, OnnxNetwork) and "input" in theirs:
        own["input"] = student.describe_input()
    for key, value in own.items():
        if theirs[key] != value:
            raise ValueError(
                f"resume_from={source} has {key}={theirs[key]!r}, this run {value!r}; give a run with the same {key}"
            )
    count = theirs["recipe"].get("num_classes")
    if recipe.data.labels and count and count != recipe.head.num_classes:
        raise ValueError(
            f"resume_from={source} has class centers of {count:,} identities, these images {recipe.head.num_classes:,}; "
            f"set student_init={source} to take its student alone"
        )


def start_from_run(state: Any) -> None:
    """Load student and class centers of the newest checkpoint of `resume_from`, and print one line on the learning rate.

    Everything else starts anew: optimizer, schedule, the terms' own networks, the average of the weights.
    state: a TrainState. Raises ValueError for weights that do not fit, or a damaged checkpoint.
    """
    setup = state.setup
    source = setup.recipe.run.resume_from
    found = checkpoint.load_latest(Path(source) / CHECKPOINTS)
    assert found is not None
    shared, heads = found
    try:
        setup.student.load_state_dict(shared["student"])
    except RuntimeError as error:
        raise ValueError(f"resume_from={source} does not fit this network: {str(error).splitlines()[-1].strip()}") from error
    if setup.average:
        setup.average.averaged.load_state_dict(shared["student"])
    with_centers = isinstance(state.head, Head) and state.head.config.trained and "weight" in heads[0]
    if with_centers:
        load_centers(state.head, heads)
    if distributed.rank() == 0:
        what = "student and class centers" if with_centers else "student"
        print(
            f"resume_from={source}: {what} of its step {shared['step']}. {new_schedule(setup.recipe.schedule)}", file=sys.stderr
        )


def load_centers(head: Head, heads: list[dict[str, Any]]) -> None:
    """Copy this rank's part of the class centers from the saved shards of any number of ranks."""
    weight_CD: Tensor = checkpoint.cut_weight(heads, head.shard)
    with torch.no_grad():
        head.weight.copy_(weight_CD)


def new_schedule(schedule: ScheduleConfig) -> str:
    """One sentence on the learning rate of a run that starts from trained weights."""
    first, last = (learning_rate(schedule, epoch, 1) for epoch in (0, schedule.num_epoch - 1))
    if schedule.warmup_epoch:
        rates = f"a warm-up of {schedule.warmup_epoch:g} epochs to {schedule.lr:.3g}, {last:.3g} in the last epoch"
    else:
        rates = f"the learning rate is {first:.3g} in the first and {last:.3g} in the last of {schedule.num_epoch} epochs"
    return f"The schedule starts anew: {rates}"
