"""Batch-hard triplets (arXiv 1703.07737): each anchor with its farthest positive and its nearest negative.

X = anchors, Y = candidates, D = embedding width.
"""

import torch


def mine_batch_hard(
    cosine_XY: torch.Tensor, positive_XY: torch.Tensor, negative_XY: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Indices of each anchor's least similar positive and most similar negative, int64 (X,) each; whether it has both, bool (X,).

    No gradient: mining only selects indices.
    """
    cosine_XY = cosine_XY.detach()
    positive_X = cosine_XY.masked_fill(~positive_XY, torch.inf).argmin(1)
    negative_X = cosine_XY.masked_fill(~negative_XY, -torch.inf).argmax(1)
    return positive_X, negative_X, positive_XY.any(1) & negative_XY.any(1)


def hinge(positive_X: torch.Tensor, negative_X: torch.Tensor, complete_X: torch.Tensor, margin: float) -> torch.Tensor:
    """Mean over complete triplets of max(0, positive - negative + margin) of distances; 0 where no triplet is complete."""
    loss_X = (positive_X - negative_X + margin).clamp(min=0)
    return loss_X.masked_fill(~complete_X, 0).sum() / complete_X.sum().clamp(min=1)


def gather_sizes(rows_PBD: torch.Tensor, shards) -> torch.Tensor:
    """Gather the embeddings of all ranks at each size: (P, B, D) -> (P, G, D)."""
    return shards.gather(rows_PBD.transpose(0, 1).contiguous()).transpose(0, 1)
