"""Octuplet loss (Knoche et al., FG 2023, arXiv 2207.06726): batch-hard triplets within and across two sizes of the same faces.

Four tables of distances, high-high, high-low, low-high and low-low, anchors in rows; each gives a mean batch-hard triplet loss
(Euclidean distance of normalised embeddings, margin 0.5), and the four are added. After the authors' code (repository
Martlgap/octuplet-loss, pt_octuplet_loss.py); of the paper only the abstract was to be had. It fine-tunes trained networks by
this loss; here it stands beside the identity loss from the start.

Where this reading differs: there a positive is another face of the person, and an anchor without one counts as if it had a
positive at distance 0. Here the anchor's own face at the other size is a positive too (`own=False` is theirs), since most people
of a data set may have one face, and an anchor without a positive or a negative has no triplet.

B, G = faces on this rank, on all ranks; D = embedding width; high and low name the larger and the smaller size in any order: the
sum is the same.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.triplets import gathered, hardest, hinge


def octuplet_loss(sizes_2GD: torch.Tensor, person_G: torch.Tensor, margin: float = 0.5, own: bool = True) -> torch.Tensor:
    """Sum over the four pairs of sizes of their mean batch-hard triplet loss. Scalar, 0 to 4 * (2 + margin).

    for anchors' size a, others' size b, anchor i that has a positive and a negative:
        positive = max over j of |a_i - b_j|, j of the same person, j != i (or b != a and own)
        negative = min over j of |a_i - b_j|, j of another person
        table (a, b) += max(0, positive - negative + margin)

    sizes_2GD: the same faces at two sizes. Half precision is computed in float32. Raises ValueError for shapes that do not fit.
    """
    if sizes_2GD.ndim != 3 or len(sizes_2GD) != 2 or person_G.shape != sizes_2GD.shape[1:2]:
        raise ValueError(
            f"octuplets need embeddings (2, G, D) and people (G,); got {tuple(sizes_2GD.shape)} and {tuple(person_G.shape)}"
        )
    sizes_2GD = F.normalize(at_least_float32(sizes_2GD), dim=2)
    same_GG = person_G[:, None] == person_G
    itself_GG = torch.eye(len(person_G), dtype=torch.bool, device=person_G.device)
    total = sizes_2GD.new_zeros(())
    for a, anchor_GD in enumerate(sizes_2GD):
        for b, other_GD in enumerate(sizes_2GD):
            positive_GG = same_GG if own and a != b else same_GG & ~itself_GG
            total = total + _table(anchor_GD, other_GD, positive_GG, ~same_GG, margin)
    return total


def _table(anchor_GD, other_GD, positive_GG, negative_GG, margin) -> torch.Tensor:
    positive_G, negative_G, complete_G = hardest(anchor_GD @ other_GD.T, positive_GG, negative_GG)
    # From the chosen ones' difference: a root of 2 - 2 cos has no gradient where two faces coincide.
    far_G = torch.linalg.vector_norm(anchor_GD - other_GD[positive_G], dim=1)
    near_G = torch.linalg.vector_norm(anchor_GD - other_GD[negative_G], dim=1)
    return hinge(far_G, near_G, complete_G, margin)


@dataclass(frozen=True)
class Octuplet:
    """Recipe keys of the term: `octuplet_weight`, `octuplet_margin`, ... It wants one size in `also_px`.

    own: an anchor's own face at the other size is a positive; False is the authors' code.
    """

    weight: float = 1.0
    warmup_epochs: float = 0.0
    margin: float = 0.5
    own: bool = True

    needs = frozenset()

    def __post_init__(self):
        if self.margin < 0:
            raise ValueError(f"margin must be 0 or more; got {self.margin!r}")

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar. ValueError unless the run sees its faces at one further size."""
        if sizes.also != 1:
            raise ValueError(f"octuplet loss compares two sizes: also_px names one beside px, such as (8,); it has {sizes.also}")
        return OctupletLoss(self)


class OctupletLoss(nn.Module):
    """`octuplet_loss` over the faces of all ranks."""

    def __init__(self, spec: Octuplet = Octuplet()):
        super().__init__()
        self.spec = spec

    def forward(self, views) -> torch.Tensor:
        sizes_2GD = gathered(torch.cat([views.student_BD[None], views.also_PBD]), views.shards)
        return octuplet_loss(sizes_2GD, views.shards.gather(views.person_B), self.spec.margin, self.spec.own)
