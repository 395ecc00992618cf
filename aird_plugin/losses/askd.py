"""A-SKD (ECCV 2022, "Teaching Where to Look"): the student is to attend to the channels and places that the teacher attends to.

The paper's networks carry CBAM modules, and what is compared is what these compute before their sigmoid. Networks of InsightFace
have none, so this is a reading: the channel attention of a map is its mean over places (what CBAM's channel module starts from),
its spatial attention the mean over channels of the square (the authors' own `at`, beside CBAM in their code). One pair a stage,
where the paper has one a block. Where the two networks' channels differ in number, the student's go through a linear layer; the
paper compares networks of one kind and needs none. The alternative, CBAM in both networks, is another student and teacher.

The authors' loss is 5 * the sum of both distances over 24 blocks, or 240 * their mean; F-SKD's face grid (arXiv 2303.04681) takes
the mean with a weight of 80, and so does this.

B = faces, C = channels, H, W = sides, the same for both maps of a pair; P = H * W.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.alignment import alignment_loss
from aird_plugin.losses.attention import attention_map, check_pairs


def channel_attention(map_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean over places. (B, C)"""
    return map_BCHW.mean((2, 3))


def askd_loss(student_channels, student_places, teacher_maps) -> torch.Tensor:
    """Mean over pairs, faces and the two kinds of attention of 1 - cosine, from 0 to 2. No gradient reaches the teacher.

    student_channels: (B, C) each, as many as the teacher's map has channels. student_places: (B, P) each.
    """
    distances = []
    for channels_BC, places_BP, teacher_BCHW in zip(student_channels, student_places, teacher_maps, strict=True):
        distances.append(alignment_loss(channels_BC, channel_attention(teacher_BCHW)))
        distances.append(alignment_loss(places_BP, attention_map(teacher_BCHW)))
    return torch.stack(distances).mean()


@dataclass(frozen=True)
class AttentionSimilarity:
    """Recipe keys of the term: `askd_weight`, `askd_warmup_epochs`."""

    weight: float = 80.0
    warmup_epochs: float = 0.0

    needs = frozenset({"maps"})

    def build(self, sizes) -> nn.Module:
        """The term as a module, with a linear layer where channels differ in number: views -> scalar."""
        return AttentionSimilarityLoss(sizes.student_channels, sizes.teacher_channels)


class AttentionSimilarityLoss(nn.Module):
    """`askd_loss` on a step's views. Initial weights (He's, by fan-in) are a function of the seed alone."""

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.adapters = nn.ModuleList()
        for ours, theirs in zip(student_channels, teacher_channels, strict=True):
            adapter = nn.Identity() if ours == theirs else nn.Linear(ours, theirs, bias=False)
            for weight in adapter.parameters():
                nn.init.normal_(weight, 0, math.sqrt(2 / ours), generator=generator)
            self.adapters.append(adapter)

    def forward(self, views) -> torch.Tensor:
        check_pairs(views.student_maps, views.teacher_maps)
        channels = [adapt(channel_attention(own)) for adapt, own in zip(self.adapters, views.student_maps, strict=True)]
        return askd_loss(channels, [attention_map(own) for own in views.student_maps], views.teacher_maps)
