"""The exponential moving average of the student's weights: less noise than the last step's, at the cost of a copy."""

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """`averaged`, a copy of the student whose weights and buffers follow it: average <- d average + (1 - d) student each step.

    d = min(decay, (1 + n) / (10 + n)) at step n, from 1: a short run and a long one's beginning do not keep the initial weights.
    (Polyak averaging; the warm-up is that of TensorFlow's ExponentialMovingAverage.) Integer buffers are copied.
    """

    def __init__(self, student: nn.Module, decay: float):
        self.decay = decay
        self.steps = 0
        self.averaged = copy.deepcopy(student).requires_grad_(False).eval()
        self._pairs = paired_tensors(self.averaged, student)

    @torch.no_grad()
    def update(self) -> None:
        """Follow the student by one step; called after the optimizer's."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        floats = [(average, value) for average, value in self._pairs if average.is_floating_point()]
        torch._foreach_lerp_([average for average, _ in floats], [value for _, value in floats], 1 - decay)
        for average, value in self._pairs:
            if not average.is_floating_point():
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged tensors and the number of steps."""
        return {"steps": self.steps, "averaged": self.averaged.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them."""
        self.steps = state_dict["steps"]
        self.averaged.load_state_dict(state_dict["averaged"])


def paired_tensors(averaged: nn.Module, student: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(tensor of the average, the student's) by name; a tensor that several names share comes once."""
    own, theirs = averaged.state_dict(), student.state_dict()
    assert own.keys() == theirs.keys()
    pairs = {own[name].data_ptr(): (own[name], value) for name, value in theirs.items() if value.numel()}
    return list(pairs.values())
