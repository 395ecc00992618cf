"""Relations of pairs as vectors: AIRD's network on a pair (equation 2), and the difference of two embeddings.

B = anchors, K = others of an anchor, D = embedding width, E = 2 D, R = relation width.
"""

import torch
from torch.nn import functional as F

MIN_NORM = 1e-12


def relation(weight_RE: torch.Tensor, bias_R: torch.Tensor, anchor_BD: torch.Tensor, other_BXD: torch.Tensor) -> torch.Tensor:
    """Equation 2: relu(W [anchor ; other] + b), normalised. anchor (B, D), other (B, D) or (B, K, D) -> (B, R) or (B, K, R)."""
    return F.normalize(_hidden(weight_RE, bias_R, anchor_BD, other_BXD), dim=-1)


def relation_cosines(
    weight_RE: torch.Tensor, bias_R: torch.Tensor, anchor_BD: torch.Tensor, other_BKD: torch.Tensor, to_BR: torch.Tensor
) -> torch.Tensor:
    """Cosine of each row's K relations to one normalised relation, (B, K).

    The K products are divided by the norms, not the (B, K, R) table: at K = 1,024 that table is 50 MB per pass.
    """
    hidden_BKR = _hidden(weight_RE, bias_R, anchor_BD, other_BKD)
    norm_BK = torch.linalg.vector_norm(hidden_BKR, dim=2).clamp(min=MIN_NORM)
    return torch.bmm(hidden_BKR, to_BR[:, :, None])[:, :, 0] / norm_BK


def _hidden(weight_RE, bias_R, anchor_BD, other_BXD) -> torch.Tensor:
    """relu(W [anchor ; other] + b). The halves of W are applied separately: an anchor shared by K others is multiplied once."""
    width = anchor_BD.shape[1]
    anchor_BR = F.linear(anchor_BD, weight_RE[:, :width], bias_R)
    other_BXR = F.linear(other_BXD, weight_RE[:, width:])
    if other_BXR.ndim == 3:
        anchor_BR = anchor_BR[:, None]
    return other_BXR.add_(anchor_BR).relu_()


def difference(anchor_BD: torch.Tensor, other_BXD: torch.Tensor) -> torch.Tensor:
    """norm(other - anchor). anchor (B, D), other (B, D) or (B, K, D) -> the shape of other; 0 where both are equal."""
    anchor_BXD = anchor_BD if other_BXD.ndim == 2 else anchor_BD[:, None]
    return F.normalize(other_BXD - anchor_BXD, dim=-1)
