"""Optimizers and learning-rate schedules."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from aird_plugin.losses.ranges import above, at_least

SCHEDULES = ("step", "poly", "cosine")
OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True)
class ScheduleConfig:
    """Recipe keys of the optimizer and its schedule.

    batch_size: images per rank; as in arcface_torch, lr is not scaled with the number of ranks. optimizer: "sgd", with
    momentum, or "adamw". schedule: "step" multiplies lr by `decay` at each of `milestones` (epochs, from 0); "poly" falls
    linearly to 0, as in arcface_torch's train_v2; "cosine" ends at 0. warmup_epoch: epochs in which lr rises linearly from 0.
    gradient_acc: batches whose mean gradient makes one step. clip: largest norm of the student's gradient, 0 for none.
    weight_average: decay of a moving average of the student's weights, which is then the student that is verified and saved in
    model.pt; 0 for none, 0.99 averages about the last 100 steps.
    """

    batch_size: int = 96
    optimizer: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    num_epoch: int = 35
    warmup_epoch: float = 0
    schedule: str = "step"
    milestones: tuple = (21, 28, 32)
    decay: float = 0.1
    gradient_acc: int = 1
    clip: float = 5.0
    weight_average: float = 0.0

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is one of {', '.join(SCHEDULES)}; got {self.schedule!r}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is one of {', '.join(OPTIMIZERS)}; got {self.optimizer!r}")
        at_least(self, 1, "batch_size", "num_epoch", "gradient_acc")
        above(self, 0, "lr")
        at_least(self, 0, "weight_decay", "warmup_epoch", "clip")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay multiplies the learning rate, above 0 and at most 1; got {self.decay!r}")
        for milestone in self.milestones:
            if isinstance(milestone, bool) or not isinstance(milestone, int | float) or not 0 <= milestone < math.inf:
                raise ValueError(f"milestones are epochs, numbers from 0; got {milestone!r}")
        if not 0 <= self.weight_average < 1:
            raise ValueError(f"weight_average is from 0 to below 1; got {self.weight_average!r}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum is from 0 to below 1; got {self.momentum!r}")


def learning_rate(config: ScheduleConfig, step: int, steps_per_epoch: int) -> float:
    """The learning rate of optimizer step `step`, counted from 0."""
    epoch = step / steps_per_epoch
    if epoch < config.warmup_epoch:
        # A warm-up of 1.5 steps would end above lr.
        return config.lr * min(1.0, (step + 1) / (config.warmup_epoch * steps_per_epoch))
    if config.schedule == "step":
        return config.lr * config.decay ** sum(epoch >= milestone for milestone in config.milestones)
    share = (epoch - config.warmup_epoch) / max(config.num_epoch - config.warmup_epoch, 1e-9)
    if config.schedule == "poly":
        return config.lr * (1 - share)
    return config.lr * 0.5 * (1 + math.cos(math.pi * share))


def build_optimizer(config: ScheduleConfig, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, over the trainable parameters; there may be none. Fused: see `NonFiniteGuard`."""
    groups = [{"params": [parameter for parameter in parameters if parameter.requires_grad]}]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    if config.momentum:
        # A nonfinite first step is skipped on the device, which would leave the buffers uninitialized.
        for parameter in groups[0]["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
