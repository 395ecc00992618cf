"""Relational Knowledge Distillation (arXiv 1904.05068): distances between faces and angles among three of them.

Both parts are taken over all ranks' faces. The student's embeddings enter normalised, as the bank's teacher is: what is
compared in the end is a cosine, and raw distances would teach lengths that no cosine sees. (The alternative, raw embeddings,
is what RepDistiller and F-SKD do.)

B, G = faces on this rank, on all ranks; D = embedding width, which may differ between the networks; V = vertices of a block.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aird_plugin.losses.precision import at_least_float32

BLOCK_ELEMENTS = 2**21
SAME = 1e-13


def distance_loss(student_GD: torch.Tensor, teacher_GD: torch.Tensor) -> torch.Tensor:
    """RKD-D: pair distances in units of their mean, compared by Huber.

    for every ordered pair (i, j), i = j too:
        total += huber(|s_i - s_j| / mean_s, |t_i - t_j| / mean_t)
    return total / G^2

    mean_*: over the pairs at a distance above 0. No gradient reaches the teacher; equal embeddings get none.
    Raises ValueError for another number of faces.
    """
    _check(student_GD, teacher_GD)
    student_GG, teacher_GG = (_products_and_distances(x_GD)[1] for x_GD in (student_GD, teacher_GD.detach()))
    return F.smooth_l1_loss(_relative(student_GG), _relative(teacher_GG))


def angle_loss(student_GD: torch.Tensor, teacher_GD: torch.Tensor) -> torch.Tensor:
    """RKD-A: cosines of the angles at j in the triangles (i, j, k), compared by Huber.

    for every ordered triple (i, j, k):
        total += huber(cos(s_i - s_j, s_k - s_j), cos(t_i - t_j, t_k - t_j))
    return total / G^3

    A cosine with a side of length 0 is 0 and has no gradient. The work is G^3, without D: all cosines come from one table of
    products. The memory is that of BLOCK_ELEMENTS triples: where there are more, the backward pass computes each block again.
    No gradient reaches the teacher.
    Raises ValueError for another number of faces.
    """
    _check(student_GD, teacher_GD)
    count = len(student_GD)
    tables = (*_triangle_tables(student_GD), *_triangle_tables(teacher_GD.detach()))
    blocks = torch.arange(count, device=student_GD.device).split(max(1, BLOCK_ELEMENTS // count**2))
    if len(blocks) == 1:
        return _block_of_angles(*blocks, *tables) / count**3
    total = torch.zeros((), dtype=tables[0].dtype, device=student_GD.device)
    for vertices_V in blocks:
        total = total + checkpoint(_block_of_angles, vertices_V, *tables, use_reentrant=False, preserve_rng_state=False)
    return total / count**3


def _check(student_GD: torch.Tensor, teacher_GD: torch.Tensor) -> None:
    if student_GD.ndim != 2 or teacher_GD.ndim != 2 or len(student_GD) != len(teacher_GD):
        raise ValueError(
            f"RKD compares the same faces, (faces, width) each; got student {tuple(student_GD.shape)}, "
            f"teacher {tuple(teacher_GD.shape)}"
        )


def _products_and_distances(x_GD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Products of the centred rows, and |x_i - x_j|: exactly 0 for equal rows, with gradient 0 there. (G, G) each.

    |a - b|^2 = a.a + b.b - 2 a.b in float64, whose rounding lies below what tells two float32 rows apart: one small matrix
    product where a loop over pairs takes ten times as long. Rows nearer than 3e-7 of their lengths count as equal.
    """
    centred_GD = x_GD.double()
    centred_GD = centred_GD - centred_GD.mean(0)
    product_GG = centred_GD @ centred_GD.T
    square_G = product_GG.diagonal()
    both_GG = square_G[:, None] + square_G
    square_GG = both_GG - 2 * product_GG
    same_GG = square_GG <= SAME * both_GG
    distance_GG = square_GG.masked_fill(same_GG, 1).sqrt().masked_fill(same_GG, 0)
    dtype = at_least_float32(x_GD).dtype
    return product_GG.to(dtype), distance_GG.to(dtype)


def _relative(distance_GG: torch.Tensor) -> torch.Tensor:
    mean = distance_GG.sum() / (distance_GG > 0).sum().clamp(min=1)
    return distance_GG / mean.masked_fill(mean == 0, 1)


def _triangle_tables(x_GD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Products of the centred rows, and 1 / distance (0 for equal rows). Centring makes rounding relative to the spread."""
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
class Relational:
    """Recipe keys of the term: `rkd_weight`, `rkd_distance`, `rkd_angle`, `rkd_warmup_epochs`.

    distance, angle: weights of the two parts inside the term, 1 to 2 as in the paper (25 and 50). weight: F-SKD's 40, tuned on
    faces (gist-ailab/feature-similarity-KD).
    """

    weight: float = 40.0
    warmup_epochs: float = 0.0
    distance: float = 1.0
    angle: float = 2.0

    needs = frozenset({"teacher"})

    def __post_init__(self):
        for key in ("distance", "angle"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more; got {getattr(self, key)!r}")

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar."""
        return RelationalLoss(self)


class RelationalLoss(nn.Module):
    """Both parts on the faces of all ranks."""

    def __init__(self, spec: Relational = Relational()):
        super().__init__()
        self.spec = spec

    def forward(self, views) -> torch.Tensor:
        student_GD, teacher_GD = unit_embeddings(views)
        distance, angle = distance_loss(student_GD, teacher_GD), angle_loss(student_GD, teacher_GD)
        return self.spec.distance * distance + self.spec.angle * angle


def unit_embeddings(views) -> tuple[torch.Tensor, torch.Tensor]:
    """Student's and teacher's embeddings of all ranks' faces, normalised, as a loss over pairs takes them."""
    return tuple(views.shards.gather(F.normalize(x_BD, dim=1)) for x_BD in (views.student_BD, views.teacher_BD))
