"""AT, attention transfer (arXiv 1612.03928): the spatial distribution of a feature map's activation, independent of its channels.

The paper's activation-based form with p = 2. Its sum over stages of a norm became, in the implementations that later papers
measure (RepDistiller, mdistiller, and the benchmark of F-SKD, arXiv 2303.04681), the mean square over positions. This file uses
that form, with F-SKD's mean over stages, whose weight of 1000 was tuned on faces. mdistiller sums over stages.

B = images, C = channels, H, W = height and width, the same for both maps of a pair; P = H * W positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.term import Needs, TermConfig


def attention_map(map_BCHW: torch.Tensor) -> torch.Tensor:
    """Channel mean of the squared map, flattened over positions and normalised. (B, P); zero for a map of zeros."""
    return F.normalize(map_BCHW.square().mean(1).flatten(1))


def at_loss(student_maps: Sequence[torch.Tensor], teacher_maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over pairs, images and positions of the squared difference of the attention maps. No gradient reaches the teacher."""
    check_pairs(student_maps, teacher_maps)
    gaps = [
        F.mse_loss(attention_map(student_BCHW), attention_map(teacher_BCHW.detach()))
        for student_BCHW, teacher_BCHW in zip(student_maps, teacher_maps, strict=True)
    ]
    return torch.stack(gaps).mean()


def check_pairs(student_maps: Sequence[torch.Tensor], teacher_maps: Sequence[torch.Tensor]) -> None:
    """ValueError where there is no pair of maps, or the maps of a pair differ in batch size, height or width."""
    sizes = [[(len(m), *m.shape[2:]) for m in maps] for maps in (student_maps, teacher_maps)]
    if not student_maps or sizes[0] != sizes[1]:
        raise ValueError(f"student and teacher maps must come in pairs of equal (images, H, W); got {sizes[0]} and {sizes[1]}")


@dataclass(frozen=True)
class AT(TermConfig):
    """Recipe keys of the term: `at_weight`, `at_warmup_epochs`."""

    weight: float = 1000.0

    needs = frozenset({Needs.MAPS})

    def build(self, dims) -> nn.Module:
        return ATLoss()


class ATLoss(nn.Module):
    """`at_loss` of a step's feature maps."""

    def forward(self, inputs) -> torch.Tensor:
        return at_loss(inputs.student_maps, inputs.teacher_maps)
