"""The metric term of Deep Siamese low-resolution recognition (Lai and Lam, 2021): one batch-hard triplet loss over all sizes.

After the authors' code (repository johnnysclai/Deep-Siamese-network-for-LRFR, src/models/learner.py): every embedding of every
size is an anchor; its farthest positive and nearest negative are mined over all sizes; distance 1 - cosine, margin 1.0. The mean
of the identity losses of all sizes is added (`identity_also=True`; there AM-Softmax, s=30, m=0.35).

Difference: there a step holds each identity once, with a different image at each size. Here it is the same image at each size, in
one view, and the identity's other images in the batch are positives too (`faces_per_person`).

P = sizes, B, G = images on this rank, on all ranks; X = P * G; D = embedding width.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import at_least
from aird_plugin.losses.term import Needs, TermConfig
from aird_plugin.losses.triplets import gather_sizes, hinge, mine_batch_hard


def siamese_loss(sizes_PGD: torch.Tensor, label_G: torch.Tensor, margin: float = 1.0) -> torch.Tensor:
    """Mean over the images at all sizes of max(0, margin + farthest positive - nearest negative). Scalar, 0 to 2 + margin.

    for anchor x of the P * G embeddings that has a positive and a negative:
        positive = max over y of 1 - cos(x, y), y of the same identity, y != x
        negative = min over y of 1 - cos(x, y), y of another identity
        total += max(0, margin + positive - negative)

    Half precision is computed in float32. Raises ValueError for shapes that do not match.
    """
    if sizes_PGD.ndim != 3 or label_G.shape != sizes_PGD.shape[1:2]:
        raise ValueError(f"need embeddings (P, G, D) and labels (G,); got {tuple(sizes_PGD.shape)} and {tuple(label_G.shape)}")
    all_XD = F.normalize(at_least_float32(sizes_PGD).flatten(0, 1), dim=1)
    label_X = label_G.repeat(len(sizes_PGD))
    same_XX = label_X[:, None] == label_X
    self_XX = torch.eye(len(label_X), dtype=torch.bool, device=label_X.device)
    cosine_XX = all_XD @ all_XD.T
    positive_X, negative_X, complete_X = mine_batch_hard(cosine_XX, same_XX & ~self_XX, ~same_XX)
    positive_distance_X = 1 - cosine_XX.gather(1, positive_X[:, None])[:, 0]
    negative_distance_X = 1 - cosine_XX.gather(1, negative_X[:, None])[:, 0]
    return hinge(positive_distance_X, negative_distance_X, complete_X, margin)


@dataclass(frozen=True)
class Siamese(TermConfig):
    """Recipe keys of the term: `siamese_weight`, `siamese_margin`, ... It requires one or more sizes in `also_px`."""

    margin: float = 1.0

    needs = frozenset({Needs.LABELS})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "margin")

    def build(self, dims) -> nn.Module:
        """As the base class. Raises ValueError where the run has no additional size."""
        if dims.also < 1:
            raise ValueError("siamese loss needs one or more sizes in also_px beside px, such as (8, 12); got none")
        return SiameseLoss(self)


class SiameseLoss(nn.Module):
    """`siamese_loss` over the images of all ranks."""

    def __init__(self, spec: Siamese = Siamese()):
        super().__init__()
        self.spec = spec

    def forward(self, inputs) -> torch.Tensor:
        sizes_PGD = gather_sizes(torch.cat([inputs.student_BD[None], inputs.also_PBD]), inputs.shards)
        return siamese_loss(sizes_PGD, inputs.shards.gather(inputs.label_B), self.spec.margin)
