"""Cosine regression: trains the student's embedding to have the direction of the teacher's. The simplest embedding distillation.

1 - cos is half the squared distance of unit embeddings, so an image far from its target weighs most. For a student of all sizes
those are the 8 px images, which lack the detail of the teacher's image; large ones, near their target, hardly move it. The
pseudo-Huber distance (Charbonnier et al. 1997: squared near zero, linear beyond) weighs both alike.

B = images on this rank, D = embedding width, the same for both networks.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.ranges import at_least, one_shape
from aird_plugin.losses.term import Needs, TermConfig


def cosine_regression_loss(student_BD: torch.Tensor, teacher_BD: torch.Tensor) -> torch.Tensor:
    """Mean over images of 1 - cos(student, teacher), from 0 to 2. No gradient reaches the teacher.

    Raises ValueError where the shapes differ.
    """
    one_shape("cosine regression: embeddings of student and teacher", student_BD, teacher_BD)
    return (1 - F.cosine_similarity(student_BD, teacher_BD.detach(), dim=1)).mean()


def huber_regression_loss(student_BD: torch.Tensor, teacher_BD: torch.Tensor, bend: float) -> torch.Tensor:
    """Mean over images of sqrt(distance^2 + bend^2) - bend, distance = |student - teacher| of unit embeddings, 0 to 2.

    Its gradient is that of distance^2 / (2 bend) for distances far below `bend` (above 0), of the distance itself far above.
    No gradient reaches the teacher. Raises ValueError where the shapes differ.
    """
    one_shape("cosine regression: embeddings of student and teacher", student_BD, teacher_BD)
    difference_BD = F.normalize(student_BD) - F.normalize(teacher_BD.detach())
    return ((difference_BD.square().sum(1) + bend**2).sqrt() - bend).mean()


@dataclass(frozen=True)
class CosineRegression(TermConfig):
    """Recipe keys of the term: `align_weight`, `align_warmup_epochs`, `align_huber` (0: 1 - cos; above: pseudo-Huber's bend)."""

    weight: float = 8.0
    huber: float = 0.0

    needs = frozenset({Needs.TEACHER_WIDTH})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "huber")

    def build(self, dims) -> nn.Module:
        return CosineRegressionLoss(self.huber)


class CosineRegressionLoss(nn.Module):
    """`cosine_regression_loss` of a step's embeddings, or `huber_regression_loss` where `huber` is above 0."""

    def __init__(self, huber: float = 0.0):
        super().__init__()
        self.huber = huber

    def forward(self, inputs) -> torch.Tensor:
        if self.huber:
            return huber_regression_loss(inputs.student_BD, inputs.teacher_BD, self.huber)
        return cosine_regression_loss(inputs.student_BD, inputs.teacher_BD)
