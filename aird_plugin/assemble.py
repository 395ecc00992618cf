"""A recipe -> the objects of a run of the embedded host, on this rank's device."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aird_plugin import distributed
from aird_plugin.finite import Watch
from aird_plugin.lesson import Lesson, prepare
from aird_plugin.models.head import Head
from aird_plugin.recipe import Recipe
from aird_plugin.rows import step_rows_only
from aird_plugin.schedule import build_optimizer


@dataclass(kw_only=True)
class Training(Lesson):
    """What the loop turns. `network` is what is called: the student, compiled, in DDP."""

    network: nn.Module
    head: Head
    shared_optimizer: torch.optim.Optimizer
    head_optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    watch: Watch

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Those with something to move: class centres that are frozen, or moved by the teacher, leave theirs empty."""
        both = (self.shared_optimizer, self.head_optimizer)
        return [optimizer for optimizer in both if any(group["params"] for group in optimizer.param_groups)]


def assemble(recipe: Recipe) -> Training:
    """Open the data, build or open the bank, build networks and optimizers. Raises ValueError for what does not fit."""
    return equip(prepare(recipe))


def equip(lesson: Lesson) -> Training:
    """What a lesson's student is trained with on this rank: head, DDP, optimizers."""
    recipe, device, student = lesson.recipe, lesson.device, lesson.student
    head = build_head(lesson).to(device)
    network = torch.compile(student) if recipe.run.compile else student
    if distributed.world_size() > 1:
        device_ids = [device] if device.type == "cuda" else None
        # BatchNorm statistics stay each rank's own, as in arcface_torch; rank 0's are saved.
        network = DistributedDataParallel(network, device_ids, broadcast_buffers=False)
    head_optimizer = build_optimizer(recipe.schedule, head.parameters())
    return Training(
        **vars(lesson), network=network, head=head,
        shared_optimizer=build_optimizer(recipe.schedule, [*student.parameters(), *lesson.objective.parameters()]),
        head_optimizer=step_rows_only(head_optimizer) if head.sampled else head_optimizer,
        scaler=torch.amp.GradScaler(enabled=recipe.run.fp16 and device.type == "cuda"),
        watch=Watch(device, patient=device.type == "cuda"),
    )  # fmt: skip


def build_head(lesson: Lesson) -> Head:
    """The class centres, from the teacher's or at random; the teacher's stand beside them for IID."""
    recipe, teacher_centres_CD = lesson.recipe, lesson.teacher_centres_CD
    initial_CD = teacher_centres_CD if recipe.head.head_init == "teacher" else None
    return Head(recipe.head, lesson.embedding_size, initial_CD, teacher_centres_CD, recipe.run.seed, recipe.margin)
