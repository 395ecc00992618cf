"""A-SKD (ECCV 2022, "Teaching Where to Look"): the student's channel and spatial attention should match the teacher's.

The paper's networks contain CBAM modules, and the loss compares their outputs before the sigmoid. InsightFace networks have no
CBAM, so this is an interpretation: the channel attention of a map is its mean over positions (the input of CBAM's channel
module), its spatial attention the channel mean of its square (the authors' own `at`, beside CBAM in their code). One pair of maps
per stage; the paper has one per block. Where the two networks differ in channels, the student's channel attention goes through a
linear layer; the paper compares networks of one architecture and needs none. The alternative, CBAM in both networks, would change
student and teacher.

The authors' loss is 5 * the sum of both distances over 24 blocks, or 240 * their mean; F-SKD's benchmark (arXiv 2303.04681) takes
the mean with a weight of 80, and so does this.

B = images, C = channels, H, W = height and width, the same for both maps of a pair; P = H * W positions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.at import attention_map, check_pairs
from aird_plugin.losses.cosine import cosine_regression_loss
from aird_plugin.losses.term import Needs, TermConfig


def channel_attention(map_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean over positions. (B, C)"""
    return map_BCHW.mean((2, 3))


def askd_loss(
    student_channels: Sequence[torch.Tensor], student_positions: Sequence[torch.Tensor], teacher_maps: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Mean over pairs, images and the two kinds of attention of 1 - cosine, from 0 to 2. No gradient reaches the teacher.

    student_channels: channel attention (B, C), C as in the teacher's map. student_positions: spatial attention (B, P).
    """
    distances = []
    for channels_BC, positions_BP, teacher_BCHW in zip(student_channels, student_positions, teacher_maps, strict=True):
        distances.append(cosine_regression_loss(channels_BC, channel_attention(teacher_BCHW)))
        distances.append(cosine_regression_loss(positions_BP, attention_map(teacher_BCHW)))
    return torch.stack(distances).mean()


@dataclass(frozen=True)
class ASKD(TermConfig):
    """Recipe keys of the term: `askd_weight`, `askd_warmup_epochs`."""

    weight: float = 80.0

    needs = frozenset({Needs.MAPS})

    def build(self, dims) -> nn.Module:
        return ASKDLoss(dims.student_channels, dims.teacher_channels, dims.seed)


class ASKDLoss(nn.Module):
    """`askd_loss` of a step's feature maps. Linear layers have He initialisation by fan-in, determined by the seed alone."""

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.adapters = nn.ModuleList()
        for student, teacher in zip(student_channels, teacher_channels, strict=True):
            adapter = nn.Identity() if student == teacher else nn.Linear(student, teacher, bias=False)
            for weight in adapter.parameters():
                nn.init.normal_(weight, 0, math.sqrt(2 / student), generator=generator)
            self.adapters.append(adapter)

    def forward(self, inputs) -> torch.Tensor:
        check_pairs(inputs.student_maps, inputs.teacher_maps)
        channels = [adapter(channel_attention(m)) for adapter, m in zip(self.adapters, inputs.student_maps, strict=True)]
        return askd_loss(channels, [attention_map(m) for m in inputs.student_maps], inputs.teacher_maps)
