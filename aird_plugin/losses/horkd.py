"""HORKD, hybrid order relational distillation (arXiv 2409.05384). An interpretation: the paper's equations were not available.

Its abstract says that several losses preserve similarities in relational structures of several orders, with an assistant
network as a bridge from teacher to student. The orders are implemented in the usual way:
- first: the embedding itself (`fkd`);
- second: distances of pairs (`rkd`);
- third: angles of triples (`rkd`);
- high: the position of an image relative to the class centers, which represent all identities: its cosines to the student's
  centers should equal the teacher's cosines to the teacher's. The alternative, centroids of the batch, carries no information
  where a batch of 96 rarely holds two images of an identity.
There is no assistant: the bank holds one teacher, and the abstract does not specify the assistant's part.

G = images on all ranks, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.fkd import fkd_loss
from aird_plugin.losses.ranges import at_least, one_shape
from aird_plugin.losses.rkd import angle_loss, distance_loss, unit_embeddings
from aird_plugin.losses.sharding import SINGLE_SHARD
from aird_plugin.losses.term import Needs, TermConfig

ORDERS = ("first", "second", "third", "high")


def centroid_loss(
    student_cosine_GC: torch.Tensor, teacher_cosine_GC: torch.Tensor, width: int, shards=SINGLE_SHARD
) -> torch.Tensor:
    """Mean over images and all ranks' classes of width * (student cosine - teacher cosine)^2.

    width: of the embedding. Cosines to random centers have magnitude 1 / sqrt(width), so that the loss is of order 1, like the
    first order. No gradient reaches the teacher. Raises ValueError where the shapes differ.
    """
    one_shape("student and teacher cosines", student_cosine_GC, teacher_cosine_GC)
    square_GC = (student_cosine_GC - teacher_cosine_GC.detach()) ** 2
    classes_G = shards.sum(square_GC.new_full((len(square_GC),), square_GC.shape[1]))
    return width * (shards.sum(square_GC.sum(1)) / classes_G).mean()


@dataclass(frozen=True)
class HORKD(TermConfig):
    """Recipe keys of the term: `horkd_weight`, `horkd_warmup_epochs`, and a weight for each order, 0 to omit it.

    The paper's weights are unknown. first: F-KD's; second, third: F-SKD's 40 for RKD, in the ratio 1 to 2; high: this package's.
    """

    first: float = 0.1
    second: float = 40.0
    third: float = 80.0
    high: float = 1.0

    needs = frozenset({Needs.TEACHER_WIDTH, Needs.TEACHER_COSINE})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, *ORDERS)
        if not any(getattr(self, key) for key in ORDERS):
            raise ValueError(f"all orders have weight 0; one of {', '.join(ORDERS)} must have a weight above 0")

    def build(self, dims) -> nn.Module:
        return HORKDLoss(self)


class HORKDLoss(nn.Module):
    """The weighted sum of the four orders; an order of weight 0 is not computed."""

    def __init__(self, spec: HORKD = HORKD()):
        super().__init__()
        self.spec = spec

    def forward(self, inputs) -> torch.Tensor:
        cosines = (inputs.student_cosine_GC, inputs.teacher_cosine_GC)
        orders = {
            "first": lambda: fkd_loss(inputs.student_BD, inputs.teacher_BD),
            "second": lambda: distance_loss(*unit_embeddings(inputs)),
            "third": lambda: angle_loss(*unit_embeddings(inputs)),
            "high": lambda: centroid_loss(*cosines, inputs.student_BD.shape[1], inputs.shards),
        }
        return sum(getattr(self.spec, name) * orders[name]() for name in ORDERS if getattr(self.spec, name))
