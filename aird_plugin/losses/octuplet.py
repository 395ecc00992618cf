"""Octuplet loss (Knoche et al., FG 2023, arXiv 2207.06726): batch-hard triplets within and across two sizes of the same images.

Four distance matrices, HR-HR, HR-LR, LR-HR and LR-LR, anchors in rows; each gives a mean batch-hard triplet loss (Euclidean
distance of normalised embeddings, margin 0.5), and the four are added. After the authors' code (repository
Martlgap/octuplet-loss, pt_octuplet_loss.py); of the paper only the abstract was available. The paper fine-tunes trained networks
with this loss; here it is added to the identity loss from the start.

Difference: there a positive is another image of the identity, and an anchor without one counts as if it had a positive at
distance 0. Here the anchor's own image at the other size is also a positive (`own=False` is theirs), since most identities of a
data set may have a single image, and an anchor without a positive or a negative has no triplet.

B, G = images on this rank, on all ranks; D = embedding width. The two sizes may come in any order: the sum is the same.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import at_least
from aird_plugin.losses.term import Needs, TermConfig
from aird_plugin.losses.triplets import gather_sizes, hinge, mine_batch_hard


def octuplet_loss(sizes_2GD: torch.Tensor, label_G: torch.Tensor, margin: float = 0.5, own: bool = True) -> torch.Tensor:
    """Sum over the four pairs of sizes of their mean batch-hard triplet loss. Scalar, 0 to 4 * (2 + margin).

    for anchors' size a, others' size b, anchor i that has a positive and a negative:
        positive = max over j of |a_i - b_j|, j of the same identity, j != i (or b != a and own)
        negative = min over j of |a_i - b_j|, j of another identity
        loss (a, b) += max(0, positive - negative + margin)

    sizes_2GD: the same images at two sizes. Half precision is computed in float32. Raises ValueError for other shapes.
    """
    if sizes_2GD.ndim != 3 or len(sizes_2GD) != 2 or label_G.shape != sizes_2GD.shape[1:2]:
        raise ValueError(
            f"octuplets need embeddings (2, G, D) and labels (G,); got {tuple(sizes_2GD.shape)} and {tuple(label_G.shape)}"
        )
    sizes_2GD = F.normalize(at_least_float32(sizes_2GD), dim=2)
    same_GG = label_G[:, None] == label_G
    self_GG = torch.eye(len(label_G), dtype=torch.bool, device=label_G.device)
    total = sizes_2GD.new_zeros(())
    for a, anchor_GD in enumerate(sizes_2GD):
        for b, other_GD in enumerate(sizes_2GD):
            positive_GG = same_GG if own and a != b else same_GG & ~self_GG
            total = total + _triplet_loss(anchor_GD, other_GD, positive_GG, ~same_GG, margin)
    return total


def _triplet_loss(anchor_GD, other_GD, positive_GG, negative_GG, margin) -> torch.Tensor:
    positive_G, negative_G, complete_G = mine_batch_hard(anchor_GD @ other_GD.T, positive_GG, negative_GG)
    # Computed from the difference of the mined pair: sqrt(2 - 2 cos) has no gradient where two embeddings coincide.
    positive_distance_G = torch.linalg.vector_norm(anchor_GD - other_GD[positive_G], dim=1)
    negative_distance_G = torch.linalg.vector_norm(anchor_GD - other_GD[negative_G], dim=1)
    return hinge(positive_distance_G, negative_distance_G, complete_G, margin)


@dataclass(frozen=True)
class Octuplet(TermConfig):
    """Recipe keys of the term: `octuplet_weight`, `octuplet_margin`, ... It requires one size in `also_px`.

    own: an anchor's own image at the other size is a positive; False is the authors' code.
    """

    margin: float = 0.5
    own: bool = True

    needs = frozenset({Needs.LABELS})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "margin")

    def build(self, dims) -> nn.Module:
        """As the base class. Raises ValueError unless the run has exactly one additional size."""
        if dims.also != 1:
            raise ValueError(f"octuplet loss needs one size in also_px beside px, such as (8,); got {dims.also} sizes")
        return OctupletLoss(self)


class OctupletLoss(nn.Module):
    """`octuplet_loss` over the images of all ranks."""

    def __init__(self, spec: Octuplet = Octuplet()):
        super().__init__()
        self.spec = spec

    def forward(self, inputs) -> torch.Tensor:
        sizes_2GD = gather_sizes(torch.cat([inputs.student_BD[None], inputs.also_PBD]), inputs.shards)
        return octuplet_loss(sizes_2GD, inputs.shards.gather(inputs.label_B), self.spec.margin, self.spec.own)
