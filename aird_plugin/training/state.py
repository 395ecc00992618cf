"""A recipe -> the objects that the training loop updates, on this rank's device."""

import inspect
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aird_plugin.config.recipe import Recipe
from aird_plugin.models.head import Head
from aird_plugin.models.no_head import NoHead
from aird_plugin.training.build import build_setup
from aird_plugin.training.nonfinite import NonFiniteGuard
from aird_plugin.training.optim import build_optimizer
from aird_plugin.training.run_state import CenterShard, RunState
from aird_plugin.training.setup import TrainingSetup
from aird_plugin.training.sparse_rows import sparse_row_steps
from aird_plugin.training.student import layers_of
from aird_plugin.utils import distributed

# torch 2.13 renames broadcast_buffers to forward_sync_buffers.
DDP_OPTIONS = inspect.signature(DistributedDataParallel).parameters
SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in DDP_OPTIONS else "broadcast_buffers"


@dataclass(kw_only=True)
class TrainState:
    """Everything the loop updates. `network` is the module that is called: the student, compiled and in DDP."""

    setup: TrainingSetup
    network: nn.Module
    head: Head | NoHead
    shared_optimizer: torch.optim.Optimizer
    head_optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    guard: NonFiniteGuard

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimizers with parameters: frozen or teacher-updated class centers have an empty one."""
        optimizers = (self.shared_optimizer, self.head_optimizer)
        return [optimizer for optimizer in optimizers if any(group["params"] for group in optimizer.param_groups)]

    @property
    def run_state(self) -> RunState:
        """The contents of a checkpoint."""
        parts = {
            "student": self.setup.student,
            "objective": self.setup.objective,
            "margin": self.head.margin,
            "optimizer": self.shared_optimizer,
            "scaler": self.scaler,
        }
        if self.setup.average:
            parts["average"] = self.setup.average
        if isinstance(self.head, NoHead):
            return RunState(parts, self.setup.metadata)
        return RunState(parts, self.setup.metadata, CenterShard(self.head.weight, self.head.shard, self.head_optimizer))


def build_state(recipe: Recipe) -> TrainState:
    """Build the setup, then head, DDP and optimizers. Raises what `build_setup` raises."""
    return state_from_setup(build_setup(recipe))


def state_from_setup(setup: TrainingSetup) -> TrainState:
    """Head, DDP and optimizers for a setup's student on this rank."""
    recipe, device, student = setup.recipe, setup.device, setup.student
    head = build_head(setup).to(device)
    network = torch.compile(student) if recipe.run.compile else student
    if distributed.world_size() > 1:
        device_ids = [device] if device.type == "cuda" else None
        # BatchNorm statistics are per rank, as in arcface_torch; those of rank 0 are saved.
        network = DistributedDataParallel(network, device_ids, **{SYNC_BUFFERS: False})
    head_optimizer = build_optimizer(recipe.schedule, head.parameters())
    layers = layers_of(student, recipe.schedule.first_layer_lr)
    return TrainState(
        setup=setup,
        network=network,
        head=head,
        shared_optimizer=build_optimizer(recipe.schedule, setup.objective.parameters(), layers),
        head_optimizer=sparse_row_steps(head_optimizer) if head.sampled else head_optimizer,
        scaler=torch.amp.GradScaler(enabled=recipe.run.fp16 and device.type == "cuda"),
        guard=NonFiniteGuard(device, patient=device.type == "cuda"),
    )


def build_head(setup: TrainingSetup) -> Head | NoHead:
    """The head, its class centers from the teacher's or random; the teacher's centers are kept beside them for IID. No head
    without labels."""
    if not setup.recipe.data.labels:
        return NoHead()
    recipe, teacher_centers_CD = setup.recipe, setup.teacher_centers_CD
    initial_CD = teacher_centers_CD if recipe.head.head_init == "teacher" else None
    return Head(recipe.head, setup.embedding_size, initial_CD, teacher_centers_CD, recipe.run.seed, recipe.margin)
