"""F-SKD, feature similarity distillation (arXiv 2303.04681): maps are asked to point where the teacher's do, and to relate two
faces as the teacher's do.

After the authors' code (gist-ailab/feature-similarity-KD): the student's maps pass adapters of a 1x1 convolution and a BatchNorm;
a map is compared as one long vector; the relation of two faces is the table of products between all places of one's last map and
all places of the other's, and is compared with the table where both faces are the teacher's. Their distillation of logits at
T = 4 is another term (`losses/instance.py`).

Reading: which two faces. Here a face and the next one of the batch (batches are shuffled), as by their default; their later
scripts draw another face of the same person, with a second pass through both networks, and in a set where most people have one
face that leaves most faces without a partner.

G = faces of all ranks, C = channels, H, W = sides, the same for both maps of a pair; M, N = places.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.alignment import alignment_loss
from aird_plugin.losses.attention import check_pairs
from aird_plugin.losses.fitnet import Adapters


def similarity_loss(adapted_maps, teacher_maps) -> torch.Tensor:
    """Mean over pairs and faces of 1 - cosine between whole maps, from 0 to 2. No gradient reaches the teacher."""
    check_pairs(adapted_maps, teacher_maps)
    pairs = zip(adapted_maps, teacher_maps, strict=True)
    return torch.stack([alignment_loss(ours.flatten(1), theirs.flatten(1)) for ours, theirs in pairs]).mean()


def affinity(one_GCHW: torch.Tensor, other_GCHW: torch.Tensor) -> torch.Tensor:
    """Products of the features at all places of one face's map and of the other's, each map of length 1 in all. (G, M * N)"""
    one_GCM, other_GCN = (F.normalize(x.flatten(1)).view(*x.shape[:2], -1) for x in (one_GCHW, other_GCHW))
    return (one_GCM.transpose(1, 2) @ other_GCN).flatten(1)


def cross_sample_loss(adapted_GCHW: torch.Tensor, teacher_GCHW: torch.Tensor) -> torch.Tensor:
    """How far each face's affinity to the next face of the batch is from the teacher's, from 0 to 4. No gradient to the teacher.

    for face g, its partner p, tables R(network of g, network of p):
        total += (d(R(t, t), R(t, s)) + d(R(t, t), R(s, t))) / 2 + d(R(t, t), R(s, s))        d = 1 - cosine
    return total / G
    """
    teacher_GCHW = teacher_GCHW.detach()
    next_student, next_teacher = adapted_GCHW.roll(-1, 0), teacher_GCHW.roll(-1, 0)
    wanted = affinity(teacher_GCHW, next_teacher)
    mixed = alignment_loss(affinity(teacher_GCHW, next_student), wanted) + alignment_loss(
        affinity(adapted_GCHW, next_teacher), wanted
    )
    return mixed / 2 + alignment_loss(affinity(adapted_GCHW, next_student), wanted)


@dataclass(frozen=True)
class FeatureSimilarity:
    """Recipe keys of the term (written with its name in front: `fskd_weight`, `fskd_cross`, ...).

    weight: of the similarity of maps. cross: weight of the cross-sample part beside it, as a share of `weight` (the authors' 20
    and 4 are 20 and 0.2).
    """

    weight: float = 20.0
    warmup_epochs: float = 0.0
    cross: float = 0.2

    needs = frozenset({"maps"})

    def __post_init__(self):
        if not self.cross >= 0:
            raise ValueError(f"cross must be 0 or more; got {self.cross!r}")

    def build(self, sizes) -> nn.Module:
        """The term as a module with its adapters: views -> scalar."""
        return FeatureSimilarityLoss(sizes.student_channels, sizes.teacher_channels, self.cross)


class FeatureSimilarityLoss(nn.Module):
    """`similarity_loss` of all pairs and `cross_sample_loss` of the last one, over all ranks' faces."""

    def __init__(self, student_channels: tuple[int, ...], teacher_channels: tuple[int, ...], cross: float = 0.2):
        super().__init__()
        self.adapters, self.cross = Adapters(student_channels, teacher_channels), cross

    def forward(self, views) -> torch.Tensor:
        adapted_maps = self.adapters(views.student_maps)
        loss = similarity_loss(adapted_maps, views.teacher_maps)
        if self.cross == 0:
            return loss
        last = (views.shards.gather(maps[-1].contiguous()) for maps in (adapted_maps, views.teacher_maps))
        return loss + self.cross * cross_sample_loss(*last)
