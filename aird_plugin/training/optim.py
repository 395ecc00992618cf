"""Optimizers and learning-rate schedules."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from aird_plugin.losses.ranges import above, at_least

SCHEDULES = ("step", "poly", "cosine")
OPTIMIZERS = ("sgd", "adamw")
# Groups of layers with a learning rate of their own: a fused step makes a call for each.
LAYER_GROUPS = 12


@dataclass(frozen=True)
class ScheduleConfig:
    """Recipe keys of the optimizer and its schedule.

    batch_size: images per rank; as in arcface_torch, lr is not scaled with the number of ranks. optimizer: "sgd", with
    momentum, or "adamw". schedule: "step" multiplies lr by `decay` at each of `milestones` (epochs, from 0); "poly" falls
    linearly to 0, as in arcface_torch's train_v2; "cosine" ends at 0. warmup_epoch: epochs in which lr rises linearly from 0.
    gradient_acc: batches whose mean gradient makes one step. clip: largest norm of the student's gradient, 0 for none.
    weight_average: decay of a moving average of the student's weights, which is then the student that is verified and saved in
    model.pt; 0 for none, 0.99 averages about the last 100 steps.
    first_layer_lr: learning rate of the student's first layer as a share of lr; the last layer and everything beside the student
    have lr, those between geometrically (`layer_shares`). Below 1 the layers near the image move less (layer-wise decay,
    arXiv 1801.06146, section 3.2), above 1 more.
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
    first_layer_lr: float = 1.0

    def __post_init__(self):
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule is one of {', '.join(SCHEDULES)}; got {self.schedule!r}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer is one of {', '.join(OPTIMIZERS)}; got {self.optimizer!r}")
        at_least(self, 1, "batch_size", "num_epoch", "gradient_acc")
        above(self, 0, "lr", "first_layer_lr")
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


def layer_shares(parameters: Sequence[torch.nn.Parameter], first_layer_lr: float) -> list[dict]:
    """The parameters in their order, cut into at most LAYER_GROUPS groups: their `params` and `lr_share`, geometric from
    first_layer_lr to 1. One group of share 1 where first_layer_lr is 1."""
    count = min(LAYER_GROUPS, len(parameters))
    if first_layer_lr == 1 or count < 2:
        return [{"params": list(parameters), "lr_share": 1.0}]
    bounds = [group * len(parameters) // count for group in range(count + 1)]
    return [
        {"params": list(parameters[bounds[group] : bounds[group + 1]]), "lr_share": first_layer_lr ** (1 - group / (count - 1))}
        for group in range(count)
    ]


def build_optimizer(
    config: ScheduleConfig, parameters: Iterable[torch.nn.Parameter], layers: Iterable[torch.nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW, over the trainable parameters; there may be none. Fused: see `NonFiniteGuard`.

    layers: the student's, in their order from the image to the embedding, each with its share of the learning rate
    (`lr_share` of its group); parameters: all others.
    """
    groups = layer_shares([layer for layer in layers if layer.requires_grad], config.first_layer_lr)
    groups[-1]["params"] += [parameter for parameter in parameters if parameter.requires_grad]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True)
    if config.momentum:
        # A nonfinite first step is skipped on the device, which would leave the buffers uninitialized.
        for parameter in itertools.chain.from_iterable(group["params"] for group in groups):
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer
