"""F-KD, the feature regression of Massoli et al. (Cross-resolution face recognition, Image and Vision Computing 2020).

The paper adds 0.1 * MSE(student features, teacher features) to the cross-entropy, on unnormalised features. The bank holds
normalised teacher embeddings, and the last BatchNorm of iresnets and native students gives every coordinate a mean square of 1, a
norm of sqrt(D), with a gain that is not trained (mbf and mfn train theirs, from 1). The target is therefore the teacher's
direction scaled to norm sqrt(D): coordinates of order 1 on both sides, as the paper's 0.1 and its mean over coordinates assume. A
normalised teacher would be an unreachable target; with both sides normalised the loss would be cosine regression times 2 / D.

B = images on this rank, D = embedding width, the same for both networks.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import one_shape
from aird_plugin.losses.term import Needs, TermConfig


def fkd_loss(student_BD: torch.Tensor, teacher_BD: torch.Tensor) -> torch.Tensor:
    """Mean over images and coordinates of (student - sqrt(D) * teacher / |teacher|)^2. No gradient reaches the teacher.

    Raises ValueError where the shapes differ.
    """
    one_shape("F-KD: embeddings of student and teacher", student_BD, teacher_BD)
    direction_BD = F.normalize(at_least_float32(teacher_BD).detach(), dim=1)
    return F.mse_loss(student_BD, math.sqrt(student_BD.shape[1]) * direction_BD)


@dataclass(frozen=True)
class FKD(TermConfig):
    """Recipe keys of the term: `fkd_weight` (the paper's 0.1), `fkd_warmup_epochs`."""

    weight: float = 0.1

    needs = frozenset({Needs.TEACHER_WIDTH})

    def build(self, dims) -> nn.Module:
        return FKDLoss()


class FKDLoss(nn.Module):
    """`fkd_loss` of a step's embeddings."""

    def forward(self, inputs) -> torch.Tensor:
        return fkd_loss(inputs.student_BD, inputs.teacher_BD)
