"""Margin softmax on class cosines: ArcFace (arXiv 1801.07698), CosFace (arXiv 1801.09414) and their combination.

B = faces, C = classes on this rank.
"""

import torch

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


def softmax_loss(logits_BC: torch.Tensor, label_B: torch.Tensor, shards=WHOLE) -> torch.Tensor:
    """Mean cross-entropy over rows, the classes possibly spread over ranks. Scalar, in nats."""
    check_labels(logits_BC, label_B)
    return (log_sum_exp(logits_BC, shards) - target_logit(logits_BC, label_B, shards)).mean()
