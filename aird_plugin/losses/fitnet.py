"""FitNet (arXiv 1412.6550): regresses the teacher's feature maps from the student's, adapted to the teacher's channels.

The paper matches one middle stage, before the main training, through a convolution of its own. Implemented as in the benchmark of
F-SKD (arXiv 2303.04681): all stages, during training, mean square over all elements, and an adapter of a 1x1 convolution without
bias and a BatchNorm. The weight of 1.5 was tuned on faces there.

B = images, C = channels, H, W = height and width, the same for both maps of a pair.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.at import check_pairs
from aird_plugin.losses.term import Needs, TermConfig


def fitnet_loss(adapted_maps: Sequence[torch.Tensor], teacher_maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over pairs of the mean squared difference. No gradient reaches the teacher. ValueError where the channels differ."""
    check_pairs(adapted_maps, teacher_maps)
    pairs = list(zip(adapted_maps, teacher_maps, strict=True))
    if any(adapted.shape != teacher.shape for adapted, teacher in pairs):
        raise ValueError(f"the maps of a pair must have one shape; got {[(tuple(a.shape), tuple(t.shape)) for a, t in pairs]}")
    return torch.stack([F.mse_loss(adapted_BCHW, teacher_BCHW.detach()) for adapted_BCHW, teacher_BCHW in pairs]).mean()


class Adapters(nn.Module):
    """A 1x1 convolution from the student's channels to the teacher's and a BatchNorm for each pair of maps.

    He initialisation by fan-in, determined by the seed alone. Each rank has its own BatchNorm statistics, like the student's.
    """

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.pairs = nn.ModuleList()
        for student, teacher in zip(student_channels, teacher_channels, strict=True):
            conv = nn.Conv2d(student, teacher, 1, bias=False)
            with torch.no_grad():
                conv.weight.normal_(0, math.sqrt(2 / student), generator=generator)
            self.pairs.append(nn.Sequential(conv, nn.BatchNorm2d(teacher)))

    def forward(self, student_maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Maps (B, C, H, W) with the student's channels -> with the teacher's."""
        return tuple(adapter(map_BCHW) for adapter, map_BCHW in zip(self.pairs, student_maps, strict=True))


@dataclass(frozen=True)
class FitNet(TermConfig):
    """Recipe keys of the term: `fitnet_weight`, `fitnet_warmup_epochs`."""

    weight: float = 1.5

    needs = frozenset({Needs.MAPS})

    def build(self, dims) -> nn.Module:
        return FitNetLoss(dims.student_channels, dims.teacher_channels, dims.seed)


class FitNetLoss(nn.Module):
    """`fitnet_loss` of a step's feature maps, with adapters on the student's."""

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], seed: int = 0):
        super().__init__()
        self.adapters = Adapters(student_channels, teacher_channels, seed)

    def forward(self, inputs) -> torch.Tensor:
        return fitnet_loss(self.adapters(inputs.student_maps), inputs.teacher_maps)
