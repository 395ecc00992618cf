"""AdaFace (arXiv 2204.00964): a face's margin follows its quality, read off the length of its embedding within the batch.

z = clip(h * (|z| - mean) / (std + eps), -1, 1), mean and std of all ranks' lengths, smoothed over batches, without gradient;
logit of the own class s * (cos(angle + g_angle) - g_add),  g_angle = -m * z,  g_add = m + m * z.

Short embeddings (z = -1) get ArcFace's margin, average ones (0) CosFace's, long ones (+1) a negative angle and twice the additive
one, so that hard faces count where they can be recognised, and little where they cannot. In a batch of one resolution z ranks the
faces of that resolution. Read off the authors' code (mk-minchul/AdaFace head.py, config.py): lengths clipped to [0.001, 100],
statistics that begin at 20 and 100, cosines within 0.001 of 1 cut. There each process keeps its own statistics; here they are of
all ranks' faces and equal on all.

G = faces on all ranks, C = classes on this rank.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.margin import own_cosine, put_own
from aird_plugin.losses.sharding import WHOLE, check_labels

EPS = 1e-3
SHORTEST, LONGEST = 1e-3, 100.0
FIRST_MEAN, FIRST_STD = 20.0, 100.0


def adaptive_logits(cosine_GC, label_G, quality_G: torch.Tensor, m: float, scale: float) -> torch.Tensor:
    """The formula above for z = quality_G in [-1, 1]."""
    check_labels(cosine_GC, label_G)
    cosine_GC = cosine_GC.clamp(-1 + EPS, 1 - EPS)
    angle_G = torch.acos(own_cosine(cosine_GC, label_G)) - m * quality_G
    own_G = torch.cos(angle_G.clamp(EPS, math.pi - EPS)) - (m + m * quality_G)
    return scale * put_own(cosine_GC, label_G, own_G)


@dataclass(frozen=True)
class AdaFace:
    """Recipe keys of the margin: `margin_m`, `margin_h`, `margin_t_alpha`.

    h: how many z a standard deviation is. t_alpha: weight of the newest batch in the statistics, above 0, at most 1 (the paper's
    alpha is 1 - t_alpha).
    """

    m: float = 0.4
    h: float = 0.333
    t_alpha: float = 0.01

    needs = frozenset({"norm"})

    def __post_init__(self):
        for key in ("m", "h"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} must be 0 or more; got {getattr(self, key)!r}")
        if not 0 < self.t_alpha <= 1:
            raise ValueError(f"t_alpha is above 0, at most 1; got {self.t_alpha!r}")

    def build(self, scale: float) -> nn.Module:
        """The margin as a module with its running statistics."""
        return AdaFaceMargin(self, scale)


class AdaFaceMargin(nn.Module):
    """AdaFace's logits. `mean` and `std` of lengths are buffers, renewed by every batch."""

    def __init__(self, spec: AdaFace, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale
        self.register_buffer("mean", torch.tensor(FIRST_MEAN))
        self.register_buffer("std", torch.tensor(FIRST_STD))

    def forward(self, cosine_GC, label_G, norm_G, agreement_G=None, shards=WHOLE):
        quality_G = self.quality(norm_G.detach())
        return adaptive_logits(cosine_GC, label_G, quality_G, self.spec.m, self.scale), None

    @torch.no_grad()
    def quality(self, norm_G: torch.Tensor) -> torch.Tensor:
        """z of each face, after its batch has entered the statistics; a batch of one face has no spread to enter."""
        length_G = norm_G.clamp(SHORTEST, LONGEST)
        self.mean.lerp_(length_G.mean().to(self.mean), self.spec.t_alpha)
        if len(length_G) > 1:
            self.std.lerp_(length_G.std().to(self.std), self.spec.t_alpha)
        return (self.spec.h * (length_G - self.mean) / (self.std + EPS)).clamp(-1, 1)
