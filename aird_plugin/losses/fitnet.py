"""FitNet (arXiv 1412.6550): the student's maps, brought to the teacher's channels, are asked to equal the teacher's.

The paper matches one middle stage, before the training proper, through a convolution of its own. Read here as the face grid of
F-SKD runs it (arXiv 2303.04681): all stages, during training, mean square over everything, and an adapter of a 1x1 convolution
without bias and a BatchNorm. The weight of 1.5 was tuned on faces there.

B = faces, C = channels, H, W = sides, the same for both maps of a pair.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.attention import check_pairs


def fitnet_loss(adapted_maps, teacher_maps) -> torch.Tensor:
    """Mean over pairs of the mean squared difference. No gradient reaches the teacher. ValueError for channels that differ."""
    check_pairs(adapted_maps, teacher_maps)
    pairs = list(zip(adapted_maps, teacher_maps, strict=True))
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        raise ValueError(f"the maps of a pair need one shape; got {[(tuple(a.shape), tuple(t.shape)) for a, t in pairs]}")
    return torch.stack([F.mse_loss(adapted_BCHW, teacher_BCHW.detach()) for adapted_BCHW, teacher_BCHW in pairs]).mean()


class Adapters(nn.Module):
    """For each pair of maps a 1x1 convolution from the student's channels to the teacher's, and a BatchNorm.

    He initialisation by fan-in, a function of the seed alone. BatchNorm statistics are each rank's own, as the student's are.
    """

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.pairs = nn.ModuleList()
        for ours, theirs in zip(student_channels, teacher_channels, strict=True):
            conv = nn.Conv2d(ours, theirs, 1, bias=False)
            with torch.no_grad():
                conv.weight.normal_(0, math.sqrt(2 / ours), generator=generator)
            self.pairs.append(nn.Sequential(conv, nn.BatchNorm2d(theirs)))

    def forward(self, student_maps) -> tuple[torch.Tensor, ...]:
        """Maps (B, C, H, W) with the student's channels -> with the teacher's."""
        return tuple(adapt(map_BCHW) for adapt, map_BCHW in zip(self.pairs, student_maps, strict=True))


@dataclass(frozen=True)
class FitNet:
    """Recipe keys of the term: `fitnet_weight`, `fitnet_warmup_epochs`."""

    weight: float = 1.5
    warmup_epochs: float = 0.0

    needs = frozenset({"maps"})

    def build(self, sizes) -> nn.Module:
        """The term as a module with its adapters: views -> scalar."""
        return FitNetLoss(sizes.student_channels, sizes.teacher_channels)


class FitNetLoss(nn.Module):
    """`fitnet_loss` on a step's views, the student's maps adapted."""

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...]):
        super().__init__()
        self.adapters = Adapters(student_channels, teacher_channels)

    def forward(self, views) -> torch.Tensor:
        return fitnet_loss(self.adapters(views.student_maps), views.teacher_maps)
