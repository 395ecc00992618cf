"""MagFace (arXiv 2103.06627): the margin grows with the embedding norm, and a regulariser rewards large norms.

a = |z| clipped to [l_a, u_a];  m(a) = l_margin .. u_margin, linear in a;  target logit s * cos(angle + m(a));
L = cross-entropy + lambda_g * mean of g(a),  g(a) = a / u_a^2 + 1 / a.

The defaults are those of the authors' run (IrvingMeng/MagFace run/run.sh); as there, a cosine below 0 gets no margin. The paper's
range of norms, 10 to 110, assumes embeddings whose norm can grow. The last BatchNorm of iresnets and native students has its gain
frozen at 1 (mbf and mfn learn theirs), so the mean squared norm of a batch is the embedding width D: norms lie around sqrt(D)
(D = 128: 11.3, on a trained student 1 % of the images below 8.7 and 1 % above 15; D = 512: 22.6) and can only be redistributed
among images. l_a and u_a therefore belong in the recipe, and with them lambda_g: at l_a the regulariser's gradient, lambda_g *
(1 / l_a^2 - 1 / u_a^2), must exceed the margin's, which is at most s * (u_margin - l_margin) / (u_a - l_a). The authors' numbers
exceed it 1.55 times.

G = images on all ranks, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.margin import easy_angular, replace_target, target_cosine
from aird_plugin.losses.ranges import angles, at_least
from aird_plugin.losses.sharding import SINGLE_SHARD, check_labels
from aird_plugin.losses.term import MarginConfig, Needs


@dataclass(frozen=True)
class MagFace(MarginConfig):
    """Recipe keys of the margin (`margin_l_a`, ...). l_a, u_a: bounds to which norms are clipped. Margins in radians."""

    l_a: float = 10.0
    u_a: float = 110.0
    l_margin: float = 0.45
    u_margin: float = 0.8
    lambda_g: float = 35.0

    needs = frozenset({Needs.NORM})

    def __post_init__(self):
        if not 0 < self.l_a < self.u_a:
            raise ValueError(f"l_a and u_a are norms and need 0 < l_a < u_a; got {self.l_a!r} and {self.u_a!r}")
        if not 0 <= self.l_margin <= self.u_margin:
            raise ValueError(f"l_margin and u_margin need 0 <= l_margin <= u_margin; got {self.l_margin!r} and {self.u_margin!r}")
        angles(self, "l_margin", "u_margin")
        at_least(self, 0, "lambda_g")

    def build(self, scale: float) -> nn.Module:
        return MagFaceMargin(self, scale)


def norm_and_margin(norm_G: torch.Tensor, spec: MagFace) -> tuple[torch.Tensor, torch.Tensor]:
    """Clipped norms a and margins m(a) in radians, (G,) each."""
    norm_G = norm_G.clamp(spec.l_a, spec.u_a)
    slope = (spec.u_margin - spec.l_margin) / (spec.u_a - spec.l_a)
    return norm_G, spec.l_margin + slope * (norm_G - spec.l_a)


def norm_loss(norm_G: torch.Tensor, label_G: torch.Tensor, u_a: float, shards=SINGLE_SHARD) -> torch.Tensor:
    """Mean over all ranks' images of g(a). Each image counts on the rank that holds its class, so its gradient is added once."""
    g_G = norm_G / u_a**2 + 1 / norm_G
    return shards.sum((g_G * (label_G >= 0)).sum()) / len(g_G)


class MagFaceMargin(nn.Module):
    """MagFace's logits and regulariser."""

    def __init__(self, spec: MagFace, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale

    def forward(self, cosine_GC, label_G, norm_G, agreement_G=None, shards=SINGLE_SHARD):
        check_labels(cosine_GC, label_G)
        norm_G, margin_G = norm_and_margin(norm_G, self.spec)
        own_G = easy_angular(target_cosine(cosine_GC, label_G), margin_G)
        regulariser = self.spec.lambda_g * norm_loss(norm_G, label_G, self.spec.u_a, shards)
        return self.scale * replace_target(cosine_GC, label_G, own_G), regulariser
