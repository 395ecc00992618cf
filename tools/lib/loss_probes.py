"""Extreme logits on which a distillation loss and its gradient must be finite.

B = images, C = classes.
"""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

from tools.lib.random_inputs import logits

PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)
# Scale of the logits, temperature, and whether the student is confident in a wrong class.
PROBES = ((64, 1, True), (64, 4, True), (30, 1, True), (30, 4, True), (64, 1, False))


def probes() -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]]:
    """Student logits, teacher logits, label and temperature of each probe: PROBES in each of PRECISIONS."""
    for dtype in PRECISIONS:
        for scale, temperature, wrong in PROBES:
            student_BC, teacher_BC, label_B = logits(8, 100, scale)
            if wrong:
                target_BC = F.one_hot(label_B, 100)
                student_BC, teacher_BC = (scale * (2.0 * target - 1) for target in (target_BC.roll(1, 1), target_BC))
            yield student_BC.to(dtype), teacher_BC.to(dtype), label_B, temperature


def finite(loss: Callable, student_BC, teacher_BC, label_B, temperature: float) -> bool:
    """Whether a loss and its gradient are finite."""
    student_BC = student_BC.detach().requires_grad_()
    value = loss(student_BC, teacher_BC, label_B, temperature)
    return bool(value.isfinite() and torch.autograd.grad(value, student_BC)[0].isfinite().all())
