"""AdaFace (arXiv 2204.00964): the margin of an image depends on its quality, estimated from its embedding norm within the batch.

z = clip(h * (|z| - mean) / (std + eps), -1, 1), mean and std of the norms on all ranks, smoothed over batches, without gradient;
target logit s * (cos(angle + g_angle) - g_add),  g_angle = -m * z,  g_add = m + m * z.

Small norms (z = -1) get ArcFace's margin, average ones (0) CosFace's, large ones (+1) a negative angular margin and twice the
additive one: hard images count where they are recognisable and little where they are not. In a batch of one resolution, z ranks
the images within that resolution; with identity_also a batch is the images at all sizes. After the authors' code (mk-
minchul/AdaFace head.py, config.py): norms clipped to [0.001, 100], statistics initialised at 20 and 100, cosines clipped to
0.001 from the ends. There each process keeps its own statistics; here they cover the images of all ranks and are equal on all.

G = images on all ranks, C = classes on this rank.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.margin import replace_target, target_cosine
from aird_plugin.losses.ranges import angles, at_least
from aird_plugin.losses.sharding import SINGLE_SHARD, check_labels
from aird_plugin.losses.term import MarginConfig, Needs

EPS = 1e-3
MIN_NORM, MAX_NORM = 1e-3, 100.0
INITIAL_MEAN, INITIAL_STD = 20.0, 100.0


def adaptive_logits(
    cosine_GC: torch.Tensor, label_G: torch.Tensor, quality_G: torch.Tensor, m: float, scale: float
) -> torch.Tensor:
    """The formula above for z = quality_G in [-1, 1]."""
    check_labels(cosine_GC, label_G)
    cosine_GC = cosine_GC.clamp(-1 + EPS, 1 - EPS)
    angle_G = torch.acos(target_cosine(cosine_GC, label_G)) - m * quality_G
    own_G = torch.cos(angle_G.clamp(EPS, math.pi - EPS)) - (m + m * quality_G)
    return scale * replace_target(cosine_GC, label_G, own_G)


@dataclass(frozen=True)
class AdaFace(MarginConfig):
    """Recipe keys of the margin: `margin_m`, `margin_h`, `margin_t_alpha`.

    h: value of z at one standard deviation above the mean. t_alpha: weight of the newest batch in the statistics, above 0, at
    most 1 (the paper's alpha is 1 - t_alpha).
    """

    m: float = 0.4
    h: float = 0.333
    t_alpha: float = 0.01

    needs = frozenset({Needs.NORM})

    def __post_init__(self):
        angles(self, "m")
        at_least(self, 0, "h")
        if not 0 < self.t_alpha <= 1:
            raise ValueError(f"t_alpha must be above 0 and at most 1; got {self.t_alpha!r}")

    def build(self, scale: float) -> nn.Module:
        return AdaFaceMargin(self, scale)


class AdaFaceMargin(nn.Module):
    """AdaFace's logits. The buffers `mean` and `std` of the norms are updated with every batch."""

    def __init__(self, spec: AdaFace, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale
        self.register_buffer("mean", torch.tensor(INITIAL_MEAN))
        self.register_buffer("std", torch.tensor(INITIAL_STD))

    def forward(self, cosine_GC, label_G, norm_G, agreement_G=None, shards=SINGLE_SHARD):
        quality_G = self.quality(norm_G.detach())
        return adaptive_logits(cosine_GC, label_G, quality_G, self.spec.m, self.scale), None

    @torch.no_grad()
    def quality(self, norm_G: torch.Tensor) -> torch.Tensor:
        """z of each image, after the batch has updated the statistics; a batch of one image updates only the mean."""
        norm_G = norm_G.clamp(MIN_NORM, MAX_NORM)
        self.mean.lerp_(norm_G.mean().to(self.mean), self.spec.t_alpha)
        if len(norm_G) > 1:
            self.std.lerp_(norm_G.std().to(self.std), self.spec.t_alpha)
        return (self.spec.h * (norm_G - self.mean) / (self.std + EPS)).clamp(-1, 1)
