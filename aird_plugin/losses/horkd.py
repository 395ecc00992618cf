"""HORKD, hybrid order relational distillation (arXiv 2409.05384), in our reading: the paper's equations were not to be had.

Its abstract says that several losses preserve similarities in relational structures of several orders, with an assistant
network as a bridge from teacher to student. The orders are read in the usual way:
- first: the embedding itself (`feature`);
- second: distances of pairs (`rkd`);
- third: angles of triples (`rkd`);
- high: how a face stands to the class centres, the structure that all faces of all people make up: its cosines to the student's
  centres should be those of the teacher to the teacher's. The alternative, the batch's own centroids, has nothing to say where
  a batch of 96 holds hardly two faces of a person.
There is no assistant: the bank holds one teacher, and what the assistant adds is nowhere to be read.

G = faces on all ranks, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.feature import feature_loss
from aird_plugin.losses.rkd import angle_loss, distance_loss, unit_embeddings
from aird_plugin.losses.sharding import WHOLE

ORDERS = ("first", "second", "third", "high")


def centroid_loss(student_cosine_GC, teacher_cosine_GC, width: int, shards=WHOLE) -> torch.Tensor:
    """Mean over faces and all ranks' classes of width * (student cosine - teacher cosine)^2.

    width: of the embedding. Cosines to centres at random are of size 1 / sqrt(width), so that this is of order 1, as the first
    order is. No gradient reaches the teacher. Raises ValueError where the two differ in shape.
    """
    if student_cosine_GC.shape != teacher_cosine_GC.shape:
        raise ValueError(
            f"student and teacher need cosines of one shape; got {tuple(student_cosine_GC.shape)} "
            f"and {tuple(teacher_cosine_GC.shape)}"
        )
    square_GC = (student_cosine_GC - teacher_cosine_GC.detach()) ** 2
    classes_G = shards.sum(square_GC.new_full((len(square_GC),), square_GC.shape[1]))
    return width * (shards.sum(square_GC.sum(1)) / classes_G).mean()


@dataclass(frozen=True)
class HybridOrder:
    """Recipe keys of the term: `horkd_weight`, `horkd_warmup_epochs`, and a weight for each order inside it, 0 to leave it out.

    The paper's weights are unknown. first: F-KD's; second, third: F-SKD's 40 for RKD, 1 to 2; high: ours.
    """

    weight: float = 1.0
    warmup_epochs: float = 0.0
    first: float = 0.1
    second: float = 40.0
    third: float = 80.0
    high: float = 1.0

    needs = frozenset({"teacher_width", "teacher_cosine"})

    def __post_init__(self):
        for key in ORDERS:
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0 or more; got {getattr(self, key)!r}")
        if not any(getattr(self, key) for key in ORDERS):
            raise ValueError(f"one of the orders {', '.join(ORDERS)} must have a weight above 0")

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar."""
        return HybridOrderLoss(self)


class HybridOrderLoss(nn.Module):
    """The weighted sum of the four orders; one of weight 0 is not computed."""

    def __init__(self, spec: HybridOrder = HybridOrder()):
        super().__init__()
        self.spec = spec

    def forward(self, views) -> torch.Tensor:
        orders = {"first": _first, "second": _second, "third": _third, "high": _high}
        weights = {name: getattr(self.spec, name) for name in ORDERS}
        return sum(weights[name] * order(views) for name, order in orders.items() if weights[name])


def _first(views) -> torch.Tensor:
    return feature_loss(views.student_BD, views.teacher_BD)


def _second(views) -> torch.Tensor:
    return distance_loss(*unit_embeddings(views))


def _third(views) -> torch.Tensor:
    return angle_loss(*unit_embeddings(views))


def _high(views) -> torch.Tensor:
    width = views.student_BD.shape[1]
    return centroid_loss(views.student_cosine_GC, views.teacher_cosine_GC, width, views.shards)
