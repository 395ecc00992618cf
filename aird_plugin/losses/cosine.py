"""Cosine regression: trains the student's embedding to have the direction of the teacher's. The simplest embedding distillation.

B = images on this rank, D = embedding width, the same for both networks.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.term import Needs, TermConfig


def cosine_regression_loss(student_BD: torch.Tensor, teacher_BD: torch.Tensor) -> torch.Tensor:
    """Mean over images of 1 - cos(student, teacher), from 0 to 2. No gradient reaches the teacher.

    Raises ValueError where the shapes differ.
    """
    if student_BD.shape != teacher_BD.shape:
        raise ValueError(
            "cosine regression needs embeddings of one width; "
            f"got student {tuple(student_BD.shape)}, teacher {tuple(teacher_BD.shape)}"
        )
    return (1 - F.cosine_similarity(student_BD, teacher_BD.detach(), dim=1)).mean()


@dataclass(frozen=True)
class CosineRegression(TermConfig):
    """Recipe keys of the term: `align_weight`, `align_warmup_epochs`."""

    weight: float = 8.0

    needs = frozenset({Needs.TEACHER_WIDTH})

    def build(self, dims) -> nn.Module:
        return CosineRegressionLoss()


class CosineRegressionLoss(nn.Module):
    """`cosine_regression_loss` of a step's embeddings."""

    def forward(self, inputs) -> torch.Tensor:
        return cosine_regression_loss(inputs.student_BD, inputs.teacher_BD)
