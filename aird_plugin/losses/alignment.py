"""Cosine regression: the student's embedding is asked to point where the teacher's does. The plainest distillation of faces.

B = faces on this rank, D = embedding width, the same for both networks.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


def alignment_loss(student_BD: torch.Tensor, teacher_BD: torch.Tensor) -> torch.Tensor:
    """Mean over faces of 1 - cos(student, teacher), from 0 to 2. No gradient reaches the teacher.

    Raises ValueError where the two differ in shape.
    """
    if student_BD.shape != teacher_BD.shape:
        raise ValueError(
            "cosine regression needs embeddings of one width: "
            f"student {tuple(student_BD.shape)}, teacher {tuple(teacher_BD.shape)}"
        )
    return (1 - F.cosine_similarity(student_BD, teacher_BD.detach(), dim=1)).mean()


@dataclass(frozen=True)
class Alignment:
    """Recipe keys of the term: `align_weight`, `align_warmup_epochs`."""

    weight: float = 8.0
    warmup_epochs: float = 0.0

    needs = frozenset({"teacher_width"})

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar."""
        return AlignmentLoss()


class AlignmentLoss(nn.Module):
    """`alignment_loss` on a step's views."""

    def forward(self, views) -> torch.Tensor:
        return alignment_loss(views.student_BD, views.teacher_BD)
