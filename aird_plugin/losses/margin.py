"""Margin softmax on class cosines: ArcFace (arXiv 1801.07698), CosFace (arXiv 1801.09414) and their combination.

A recipe may name another margin (`config.margin = "module:Spec"`). A margin is a frozen spec with `needs` and `build(scale)`. The
module that it builds maps (cosine_GC, label_G, norm_G, agreement_G, shards) to (logits_GC, regulariser): the cosines with the
margin applied, scaled, and a scalar that is added to the identity loss, or None. norm_G is each image's embedding norm,
agreement_G the cosine between its student and teacher embeddings, without gradient; each is None unless `needs` lists it
(`Needs.NORM`, `Needs.TEACHER_WIDTH`). A margin's running statistics are buffers, equal on all ranks.

B = images, G = images on all ranks, C = classes on this rank.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.sharding import SINGLE_SHARD, check_labels, is_target, log_sum_exp, target_logit
from aird_plugin.losses.term import MarginConfig

GRADIENTS = ("exact", "upstream")
COSINE_LIMIT = 1.0 - 1e-7
# Slack of `check_margins`, for a pi that a recipe has rounded.
TOLERANCE = 1e-3


def margin_logits(
    cosine_BC: torch.Tensor,
    label_B: torch.Tensor,
    margins: tuple[float, float, float] = (1.0, 0.5, 0.0),
    scale: float = 64.0,
    gradient: str = "exact",
) -> torch.Tensor:
    """scale * cos for other classes, scale * (cos(m1 * angle + m2) - m3) for the image's own.

    margins: (m1, m2, m3) as in arcface_torch's `margin_list`: (1, .5, 0) is ArcFace, (1, 0, .4) CosFace. m2 in radians; a tensor
    (B, 1) for a margin per image.
    label_B: int64; -1 marks a row whose class is on another rank and gets no margin here.
    gradient: "exact" differentiates the margin; "upstream" is a straight-through gradient, as in arcface_torch (its margin is
    applied under no_grad, so that d logit / d cos is `scale` at any angle). The values are the same.
    Beyond angle + m2 = pi the target logit rises again; arcface_torch does not handle that case, and neither does this function.
    Raises ValueError for an unknown `gradient` or shapes that do not match.
    """
    if gradient not in GRADIENTS:
        raise ValueError(f"margin_gradient is one of {', '.join(GRADIENTS)}; got {gradient!r}")
    check_labels(cosine_BC, label_B)
    m1, m2, m3 = margins
    index_B1 = label_B.clamp(min=0)[:, None]
    own_B1 = cosine_BC.gather(1, index_B1)
    angle_B1 = torch.acos(own_B1.clamp(-COSINE_LIMIT, COSINE_LIMIT))
    with_margin_B1 = torch.cos(m1 * angle_B1 + m2) - m3
    if gradient == "upstream":
        with_margin_B1 = own_B1 + (with_margin_B1 - own_B1).detach()
    target_BC = is_target(cosine_BC, label_B)
    return scale * torch.where(target_BC, with_margin_B1, cosine_BC)


def check_margins(margins: tuple) -> None:
    """Raise ValueError unless the target logit cos(m1 * angle + m2) - m3 falls up to 90 degrees, and is 0 or less there.

    Embeddings of an untrained network are at 90 degrees to their class center; with a target logit above the others' there, the
    loss is 0 from the first step and trains nothing.
    """
    m1, m2, m3 = margins
    at_90 = m1 * math.pi / 2 + m2
    if m1 > 0 and m2 >= 0 and 0 <= m3 <= 1 and at_90 <= math.pi + TOLERANCE and math.cos(at_90) - m3 <= TOLERANCE:
        return
    raise ValueError(
        "margin_list is (m1, m2, m3) of the target logit cos(m1 * angle + m2) - m3, which must fall up to 90 degrees and be 0 or "
        f"less there: m1 above 0, m2 in radians, from 0 to pi - m1 * pi / 2 ({math.pi / 2:.4f} for m1 = 1), m3 from 0 to 1; "
        f"got {margins!r}. ArcFace is (1.0, 0.5, 0.0), CosFace (1.0, 0.0, 0.4)"
    )


@dataclass(frozen=True)
class Combined(MarginConfig):
    """`margin_logits` as a margin: the head's default. Its fields come from the head's recipe keys."""

    margins: tuple[float, float, float] = (1.0, 0.5, 0.0)
    gradient: str = "exact"

    def build(self, scale: float) -> nn.Module:
        return CombinedMargin(self, scale)


class CombinedMargin(nn.Module):
    """`margin_logits` with the spec's values."""

    def __init__(self, spec: Combined, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale

    def forward(self, cosine_GC, label_G, norm_G=None, agreement_G=None, shards=SINGLE_SHARD):
        spec = self.spec
        return margin_logits(cosine_GC, label_G, spec.margins, self.scale, spec.gradient), None


def target_cosine(cosine_GC: torch.Tensor, label_G: torch.Tensor) -> torch.Tensor:
    """Each row's cosine to its own class, (G,); to an arbitrary class where its own is on another rank."""
    return cosine_GC.gather(1, label_G.clamp(min=0)[:, None])[:, 0]


def replace_target(cosine_GC: torch.Tensor, label_G: torch.Tensor, own_G: torch.Tensor) -> torch.Tensor:
    """The cosines with each row's own class replaced; a row whose class is on another rank stays unchanged."""
    return torch.where(is_target(cosine_GC, label_G), own_G[:, None], cosine_GC)


def easy_angular(own_G: torch.Tensor, margin_G: torch.Tensor | float) -> torch.Tensor:
    """cos(angle + margin) where the cosine is above 0, else the unchanged cosine; margin in radians.

    The "easy margin" of MagFace's and RPCL's code. Without it, the logit would rise with the angle beyond pi - margin.
    """
    angle_G = torch.acos(own_G.clamp(-COSINE_LIMIT, COSINE_LIMIT))
    return torch.where(own_G > 0, torch.cos(angle_G + margin_G), own_G)


def softmax_loss(logits_BC: torch.Tensor, label_B: torch.Tensor, shards=SINGLE_SHARD) -> torch.Tensor:
    """Mean cross-entropy over rows; the classes may be sharded over ranks. Scalar, in nats."""
    check_labels(logits_BC, label_B)
    return (log_sum_exp(logits_BC, shards) - target_logit(logits_BC, label_B, shards)).mean()
