"""The metric term of Deep Siamese low-resolution recognition (Lai and Lam, 2021): one batch-hard triplet loss over every size.

After the authors' code (repository johnnysclai/Deep-Siamese-network-for-LRFR, src/models/learner.py): every embedding of every
size is an anchor; its farthest positive and nearest negative are looked for among all sizes; distance 1 - cosine, margin 1.0.
Beside it stands the mean of the identity losses of all sizes (`identity_also=True`; there AM-Softmax, s=30, m=0.35).

Where this reading differs: there a step sees each person once, in another face at each size. Here it is the same face at each
size, in one view, and a person's other faces where the batch has them are positives too (`faces_per_person`).

P = sizes, B, G = faces on this rank, on all ranks; X = P * G; D = embedding width.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.triplets import gathered, hardest, hinge


def siamese_loss(sizes_PGD: torch.Tensor, person_G: torch.Tensor, margin: float = 1.0) -> torch.Tensor:
    """Mean over all sizes' faces of max(0, margin + farthest positive - nearest negative). Scalar, 0 to 2 + margin.

    for anchor x of the P * G embeddings that has a positive and a negative:
        positive = max over y of 1 - cos(x, y), y of the same person, y != x
        negative = min over y of 1 - cos(x, y), y of another person
        total += max(0, margin + positive - negative)

    Half precision is computed in float32. Raises ValueError for shapes that do not fit.
    """
    if sizes_PGD.ndim != 3 or person_G.shape != sizes_PGD.shape[1:2]:
        raise ValueError(f"need embeddings (P, G, D) and people (G,); got {tuple(sizes_PGD.shape)} and {tuple(person_G.shape)}")
    all_XD = F.normalize(at_least_float32(sizes_PGD).flatten(0, 1), dim=1)
    person_X = person_G.repeat(len(sizes_PGD))
    same_XX = person_X[:, None] == person_X
    itself_XX = torch.eye(len(person_X), dtype=torch.bool, device=person_X.device)
    cosine_XX = all_XD @ all_XD.T
    positive_X, negative_X, complete_X = hardest(cosine_XX, same_XX & ~itself_XX, ~same_XX)
    far_X = 1 - cosine_XX.gather(1, positive_X[:, None])[:, 0]
    near_X = 1 - cosine_XX.gather(1, negative_X[:, None])[:, 0]
    return hinge(far_X, near_X, complete_X, margin)


@dataclass(frozen=True)
class Siamese:
    """Recipe keys of the term: `siamese_weight`, `siamese_margin`, ... It wants a size or more in `also_px`."""

    weight: float = 1.0
    warmup_epochs: float = 0.0
    margin: float = 1.0

    needs = frozenset()

    def __post_init__(self):
        if self.margin < 0:
            raise ValueError(f"margin must be 0 or more; got {self.margin!r}")

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar. ValueError where the run sees its faces at one size alone."""
        if sizes.also < 1:
            raise ValueError("the siamese loss compares sizes: also_px names one or more beside px, such as (8, 12); it has none")
        return SiameseLoss(self)


class SiameseLoss(nn.Module):
    """`siamese_loss` over the faces of all ranks."""

    def __init__(self, spec: Siamese = Siamese()):
        super().__init__()
        self.spec = spec

    def forward(self, views) -> torch.Tensor:
        sizes_PGD = gathered(torch.cat([views.student_BD[None], views.also_PBD]), views.shards)
        return siamese_loss(sizes_PGD, views.shards.gather(views.person_B), self.spec.margin)
