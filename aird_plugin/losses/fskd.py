"""F-SKD, feature similarity distillation (arXiv 2303.04681): the cosine between feature maps, and the affinity of two images.

After the authors' code (gist-ailab/feature-similarity-KD): the student's maps go through adapters of a 1x1 convolution and a
BatchNorm; a map is compared as one flattened vector; the affinity of two images is the table of products between all positions of
one image's last map and all positions of the other's, and is compared with the table in which both maps are the teacher's. Their
distillation of logits at T = 4 is another term (`losses/instance.py`).

Interpretation: the choice of the two images. Here an image and the next one of the batch (batches are shuffled), as by their
default; their later scripts draw another image of the same identity, with a second pass through both networks. In a data set
where most identities have a single image, that leaves most images without a partner.

G = images of all ranks, C = channels, H, W = height and width, the same for both maps of a pair; M, N = positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.at import check_pairs
from aird_plugin.losses.cosine import cosine_regression_loss
from aird_plugin.losses.fitnet import Adapters
from aird_plugin.losses.ranges import at_least
from aird_plugin.losses.term import Needs, TermConfig


def similarity_loss(adapted_maps: Sequence[torch.Tensor], teacher_maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over pairs and images of 1 - cosine between flattened maps, from 0 to 2. No gradient reaches the teacher."""
    check_pairs(adapted_maps, teacher_maps)
    pairs = zip(adapted_maps, teacher_maps, strict=True)
    return torch.stack([cosine_regression_loss(adapted.flatten(1), teacher.flatten(1)) for adapted, teacher in pairs]).mean()


def affinity(one_GCHW: torch.Tensor, other_GCHW: torch.Tensor) -> torch.Tensor:
    """Products of the features at all positions of one image's map and of the other's, each map of norm 1. (G, M * N)"""
    one_GCM, other_GCN = (F.normalize(x.flatten(1)).view(*x.shape[:2], -1) for x in (one_GCHW, other_GCHW))
    return (one_GCM.transpose(1, 2) @ other_GCN).flatten(1)


def cross_sample_loss(adapted_GCHW: torch.Tensor, teacher_GCHW: torch.Tensor) -> torch.Tensor:
    """Distance of student and teacher affinities of each image and the next of the batch, 0 to 4. No gradient to the teacher.

    for image g, its partner p, tables R(network of g, network of p):
        total += (d(R(t, t), R(t, s)) + d(R(t, t), R(s, t))) / 2 + d(R(t, t), R(s, s))        d = 1 - cosine
    return total / G
    """
    teacher_GCHW = teacher_GCHW.detach()
    next_student, next_teacher = adapted_GCHW.roll(-1, 0), teacher_GCHW.roll(-1, 0)
    target = affinity(teacher_GCHW, next_teacher)
    mixed = cosine_regression_loss(affinity(teacher_GCHW, next_student), target) + cosine_regression_loss(
        affinity(adapted_GCHW, next_teacher), target
    )
    return mixed / 2 + cosine_regression_loss(affinity(adapted_GCHW, next_student), target)


@dataclass(frozen=True)
class FSKD(TermConfig):
    """Recipe keys of the term, with its name as prefix: `fskd_weight`, `fskd_cross`, ...

    weight: of the map similarity. cross: weight of the cross-sample part relative to `weight` (the authors' 20 and 4 are 20 and
    0.2).
    """

    weight: float = 20.0
    cross: float = 0.2

    needs = frozenset({Needs.MAPS})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "cross")

    def build(self, dims) -> nn.Module:
        return FSKDLoss(dims.student_channels, dims.teacher_channels, self.cross, dims.seed)


class FSKDLoss(nn.Module):
    """`similarity_loss` of all pairs of maps and `cross_sample_loss` of the last pair, over the images of all ranks."""

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], cross: float = 0.2, seed: int = 0):
        super().__init__()
        self.adapters, self.cross = Adapters(student_channels, teacher_channels, seed), cross

    def forward(self, inputs) -> torch.Tensor:
        adapted_maps = self.adapters(inputs.student_maps)
        loss = similarity_loss(adapted_maps, inputs.teacher_maps)
        if self.cross == 0:
            return loss
        last = (inputs.shards.gather(maps[-1].contiguous()) for maps in (adapted_maps, inputs.teacher_maps))
        return loss + self.cross * cross_sample_loss(*last)
