"""RKD, relational knowledge distillation (arXiv 1904.05068): distances of image pairs and angles of image triples.

Both parts run over the images of all ranks. The student's embeddings are normalised, like the teacher's in the bank: evaluation
compares cosines, and raw distances would train norms that do not affect a cosine. (RepDistiller and F-SKD use the alternative,
raw embeddings.)

B, G = images on this rank, on all ranks; D = embedding width, which may differ between the networks; V = vertices of a block.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import at_least
from aird_plugin.losses.term import Needs, TermConfig

BLOCK_ELEMENTS = 2**21
EQUAL_TOLERANCE = 1e-13


def distance_loss(student_GD: torch.Tensor, teacher_GD: torch.Tensor) -> torch.Tensor:
    """RKD-D: Huber loss of pair distances in units of their mean.

    for every ordered pair (i, j), including i = j:
        total += huber(|s_i - s_j| / mean_s, |t_i - t_j| / mean_t)
    return total / G^2

    mean_*: over the pairs with a distance above 0. No gradient reaches the teacher; equal embeddings get none.
    Raises ValueError where the numbers of images differ.
    """
    _check(student_GD, teacher_GD)
    student_GG, teacher_GG = (_products_and_distances(x_GD)[1] for x_GD in (student_GD, teacher_GD.detach()))
    return F.smooth_l1_loss(_relative(student_GG), _relative(teacher_GG))


def angle_loss(student_GD: torch.Tensor, teacher_GD: torch.Tensor) -> torch.Tensor:
    """RKD-A: Huber loss of the cosines of the angles at j in the triangles (i, j, k).

    for every ordered triple (i, j, k):
        total += huber(cos(s_i - s_j, s_k - s_j), cos(t_i - t_j, t_k - t_j))
    return total / G^3

    A cosine with a side of length 0 is 0 and has no gradient. The cost is O(G^3), independent of D: all cosines come from one
    Gram matrix. The memory is that of BLOCK_ELEMENTS triples; with more triples, the backward pass recomputes each block.
    No gradient reaches the teacher.
    Raises ValueError where the numbers of images differ.
    """
    _check(student_GD, teacher_GD)
    count = len(student_GD)
    tables = (*_triangle_tables(student_GD), *_triangle_tables(teacher_GD.detach()))
    blocks = torch.arange(count, device=student_GD.device).split(max(1, BLOCK_ELEMENTS // count**2))
    if len(blocks) == 1:
        return _block_of_angles(blocks[0], *tables) / count**3
    total = torch.zeros((), dtype=tables[0].dtype, device=student_GD.device)
    for vertices_V in blocks:
        total = total + checkpoint(_block_of_angles, vertices_V, *tables, use_reentrant=False, preserve_rng_state=False)
    return total / count**3


def _check(student_GD: torch.Tensor, teacher_GD: torch.Tensor) -> None:
    if student_GD.ndim != 2 or teacher_GD.ndim != 2 or len(student_GD) != len(teacher_GD):
        raise ValueError(
            "RKD needs student and teacher embeddings (images, width) of the same images; "
            f"got student {tuple(student_GD.shape)}, teacher {tuple(teacher_GD.shape)}"
        )


def _products_and_distances(x_GD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Products of the centered rows, and |x_i - x_j|: exactly 0 for equal rows, with gradient 0 there. (G, G) each.

    |a - b|^2 = a.a + b.b - 2 a.b in float64, whose rounding error is below the difference of two distinct float32 rows: one small
    matrix product, ten times as fast as a loop over pairs. Rows closer than 3e-7 of their norms count as equal.
    """
    centered_GD = x_GD.double()
    centered_GD = centered_GD - centered_GD.mean(0)
    product_GG = centered_GD @ centered_GD.T
    square_G = product_GG.diagonal()
    both_GG = square_G[:, None] + square_G
    square_GG = both_GG - 2 * product_GG
    same_GG = square_GG <= EQUAL_TOLERANCE * both_GG
    distance_GG = square_GG.masked_fill(same_GG, 1).sqrt().masked_fill(same_GG, 0)
    dtype = at_least_float32(x_GD).dtype
    return product_GG.to(dtype), distance_GG.to(dtype)


def _relative(distance_GG: torch.Tensor) -> torch.Tensor:
    mean = distance_GG.sum() / (distance_GG > 0).sum().clamp(min=1)
    return distance_GG / mean.masked_fill(mean == 0, 1)


def _triangle_tables(x_GD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Products of the centered rows, and 1 / distance (0 for equal rows). Centering makes rounding relative to the spread."""
    product_GG, distance_GG = _products_and_distances(x_GD)
    return product_GG, 1 / distance_GG.masked_fill(distance_GG == 0, torch.inf)


def _block_of_angles(vertices_V, student_product_GG, student_inverse_GG, teacher_product_GG, teacher_inverse_GG):
    student_VGG = _angles(vertices_V, student_product_GG, student_inverse_GG)
    teacher_VGG = _angles(vertices_V, teacher_product_GG, teacher_inverse_GG)
    return F.smooth_l1_loss(student_VGG, teacher_VGG, reduction="sum")


def _angles(vertices_V, product_GG, inverse_GG) -> torch.Tensor:
    """cos at j of (i, j, k) = (x_i.x_k - x_i.x_j - x_j.x_k + x_j.x_j) / (|x_i - x_j| |x_k - x_j|). (V, G, G)"""
    own_V = product_GG.diagonal()[vertices_V]
    to_vertex_VG = product_GG[vertices_V] - own_V[:, None] / 2
    inverse_VG = inverse_GG[vertices_V]
    dot_VGG = product_GG - to_vertex_VG[:, :, None] - to_vertex_VG[:, None]
    return dot_VGG * (inverse_VG[:, :, None] * inverse_VG[:, None])


@dataclass(frozen=True)
class RKD(TermConfig):
    """Recipe keys of the term: `rkd_weight`, `rkd_distance`, `rkd_angle`, `rkd_warmup_epochs`.

    distance, angle: weights of the two parts within the term, in the paper's ratio 1 to 2 (25 and 50). weight: F-SKD's 40, tuned
    on faces (gist-ailab/feature-similarity-KD).
    """

    weight: float = 40.0
    distance: float = 1.0
    angle: float = 2.0

    needs = frozenset({Needs.TEACHER})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "distance", "angle")
        if not self.distance + self.angle:
            raise ValueError("distance and angle are both 0, and the term would be too; give one of them a weight above 0")

    def build(self, dims) -> nn.Module:
        return RKDLoss(self)


class RKDLoss(nn.Module):
    """Both parts, over the images of all ranks; a part of weight 0 is not computed."""

    def __init__(self, spec: RKD = RKD()):
        super().__init__()
        self.spec = spec

    def forward(self, inputs) -> torch.Tensor:
        student_GD, teacher_GD = unit_embeddings(inputs)
        parts = ((self.spec.distance, distance_loss), (self.spec.angle, angle_loss))
        return torch.stack([weight * part(student_GD, teacher_GD) for weight, part in parts if weight]).sum()


def unit_embeddings(inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised student and teacher embeddings of the images of all ranks, the inputs of a loss over pairs. (G, D) each."""
    return tuple(inputs.shards.gather(F.normalize(x_BD, dim=1)) for x_BD in (inputs.student_BD, inputs.teacher_BD))
