"""Margin softmax on class cosines: ArcFace (arXiv 1801.07698), CosFace (arXiv 1801.09414) and their combination.

A recipe may name another margin (`config.margin = "module:Spec"`). A margin is a frozen spec with `needs` and `build(scale)`; the
module that it builds takes (cosine_GC, label_G, norm_G, agreement_G, shards) and gives (logits_GC, regulariser): the cosines with
the margin in them, scaled, and a scalar that is added to the identity loss, or None. norm_G is the length of each face's
embedding, agreement_G the cosine between the student's and the teacher's embedding of it, without gradient; each is None unless
`needs` names it ("norm", "teacher_width"). What a margin remembers is a buffer, and the same on all ranks.

B = faces, G = faces on all ranks, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.sharding import WHOLE, check_labels, is_target, log_sum_exp, target_logit

GRADIENTS = ("exact", "upstream")
COSINE_LIMIT = 1.0 - 1e-7


def margin_logits(
    cosine_BC: torch.Tensor,
    label_B: torch.Tensor,
    margins: tuple[float, float, float] = (1.0, 0.5, 0.0),
    scale: float = 64.0,
    gradient: str = "exact",
) -> torch.Tensor:
    """scale * cos for other classes, scale * (cos(m1 * angle + m2) - m3) for the face's own.

    margins: (m1, m2, m3) as in arcface_torch's `margin_list`: (1, .5, 0) is ArcFace, (1, 0, .4) CosFace. m2 in radians; a tensor
    (B, 1) where each face has its own.
    label_B: int64; -1 marks a row whose class lies on another rank and gets no margin here.
    gradient: "exact" differentiates the margin; "upstream" passes the gradient straight through it, as arcface_torch does
    (its margin is applied under no_grad, so that d logit / d cos is `scale` whatever the angle). The values are the same.
    Beyond angle + m2 = pi the target rises again; arcface_torch does not treat that case and neither do we.
    Raises ValueError for an unknown `gradient` or shapes that do not fit.
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


@dataclass(frozen=True)
class Combined:
    """`margin_logits` as a margin: what the head uses where a recipe names no other. Its keys are the head's own."""

    margins: tuple[float, float, float] = (1.0, 0.5, 0.0)
    gradient: str = "exact"

    needs = frozenset()

    def build(self, scale: float) -> nn.Module:
        """The margin as a module."""
        return CombinedMargin(self, scale)


class CombinedMargin(nn.Module):
    """`margin_logits` with its numbers."""

    def __init__(self, spec: Combined, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale

    def forward(self, cosine_GC, label_G, norm_G=None, agreement_G=None, shards=WHOLE):
        spec = self.spec
        return margin_logits(cosine_GC, label_G, spec.margins, self.scale, spec.gradient), None


def own_cosine(cosine_GC: torch.Tensor, label_G: torch.Tensor) -> torch.Tensor:
    """Each row's cosine to its own class, (G,); to any class where its own lies on another rank."""
    return cosine_GC.gather(1, label_G.clamp(min=0)[:, None])[:, 0]


def put_own(cosine_GC: torch.Tensor, label_G: torch.Tensor, own_G: torch.Tensor) -> torch.Tensor:
    """The cosines with each row's own class replaced; a row whose class lies on another rank stays as it is."""
    return torch.where(is_target(cosine_GC, label_G), own_G[:, None], cosine_GC)


def easy_angular(own_G: torch.Tensor, margin_G: torch.Tensor | float) -> torch.Tensor:
    """cos(angle + margin) where the cosine is above 0, else the cosine itself; margin in radians.

    The "easy margin" of MagFace's and RPCL's code. Without it a face more than pi - margin away would gain by going further.
    """
    angle_G = torch.acos(own_G.clamp(-COSINE_LIMIT, COSINE_LIMIT))
    return torch.where(own_G > 0, torch.cos(angle_G + margin_G), own_G)


def softmax_loss(logits_BC: torch.Tensor, label_B: torch.Tensor, shards=WHOLE) -> torch.Tensor:
    """Mean cross-entropy over rows, the classes possibly spread over ranks. Scalar, in nats."""
    check_labels(logits_BC, label_B)
    return (log_sum_exp(logits_BC, shards) - target_logit(logits_BC, label_B, shards)).mean()
