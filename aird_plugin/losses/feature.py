"""F-KD, the feature regression of Massoli et al. (Cross-resolution face recognition, Image and Vision Computing 2020).

The paper adds 0.1 * MSE(student features, teacher features) to the cross-entropy, features as the networks give them. What the
bank keeps of the teacher has length 1, and the last BatchNorm of iresnets and native students gives every coordinate a mean
square of 1, a length of sqrt(D), with a gain that is not trained (mbf and mfn train theirs, from 1). So the target here is the
teacher's direction at length sqrt(D): coordinates of order 1 on both sides, for which the paper's 0.1 and its mean over
coordinates were meant. Against the unit teacher the student could never arrive; with both sides normalised it would be
`alignment` times 2 / D.

B = faces on this rank, D = embedding width, the same for both networks.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32


def feature_loss(student_BD: torch.Tensor, teacher_BD: torch.Tensor) -> torch.Tensor:
    """Mean over faces and coordinates of (student - sqrt(D) * teacher / |teacher|)^2. No gradient reaches the teacher.

    Raises ValueError where the two differ in shape.
    """
    if student_BD.shape != teacher_BD.shape:
        raise ValueError(
            "feature regression needs embeddings of one width: "
            f"student {tuple(student_BD.shape)}, teacher {tuple(teacher_BD.shape)}"
        )
    direction_BD = F.normalize(at_least_float32(teacher_BD).detach(), dim=1)
    return F.mse_loss(student_BD, math.sqrt(student_BD.shape[1]) * direction_BD)


@dataclass(frozen=True)
class Feature:
    """Recipe keys of the term: `fkd_weight` (the paper's 0.1), `fkd_warmup_epochs`."""

    weight: float = 0.1
    warmup_epochs: float = 0.0

    needs = frozenset({"teacher_width"})

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar."""
        return FeatureLoss()


class FeatureLoss(nn.Module):
    """`feature_loss` on a step's views."""

    def forward(self, views) -> torch.Tensor:
        return feature_loss(views.student_BD, views.teacher_BD)
