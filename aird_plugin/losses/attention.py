"""AT, attention transfer (arXiv 1612.03928): where in a map a network is active, whatever the channels.

The paper's activation-based form with p = 2. Its sum over stages of a norm became, in the implementations that later papers
measure (RepDistiller, mdistiller, and the face grid of F-SKD, arXiv 2303.04681), the mean square over places; read so here, with
F-SKD's mean over stages, whose weight of 1000 was tuned on faces. mdistiller sums over stages.

B = faces, C = channels, H, W = sides, the same for both maps of a pair; P = H * W.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


def attention_map(map_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean over channels of the square, as a vector over places of length 1. (B, P); zero for a map of zeros."""
    return F.normalize(map_BCHW.square().mean(1).flatten(1))


def attention_loss(student_maps, teacher_maps) -> torch.Tensor:
    """Mean over pairs, faces and places of the squared difference of the attention maps. No gradient reaches the teacher."""
    check_pairs(student_maps, teacher_maps)
    gaps = [
        F.mse_loss(attention_map(student_BCHW), attention_map(teacher_BCHW.detach()))
        for student_BCHW, teacher_BCHW in zip(student_maps, teacher_maps, strict=True)
    ]
    return torch.stack(gaps).mean()


def check_pairs(student_maps, teacher_maps) -> None:
    """ValueError where there is no pair of maps, or the two of a pair do not fit in faces, height and width."""
    sizes = [[(len(m), *m.shape[2:]) for m in maps] for maps in (student_maps, teacher_maps)]
    if not student_maps or sizes[0] != sizes[1]:
        raise ValueError(f"maps of student and teacher come in pairs of one (faces, H, W); got {sizes[0]} and {sizes[1]}")


@dataclass(frozen=True)
class Attention:
    """Recipe keys of the term: `at_weight`, `at_warmup_epochs`."""

    weight: float = 1000.0
    warmup_epochs: float = 0.0

    needs = frozenset({"maps"})

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar."""
        return AttentionLoss()


class AttentionLoss(nn.Module):
    """`attention_loss` on a step's views."""

    def forward(self, views) -> torch.Tensor:
        return attention_loss(views.student_maps, views.teacher_maps)
