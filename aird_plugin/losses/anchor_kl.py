"""KL divergence over cosines to anchors, IID without labels: images drawn from the bank stand in the place of the class centers.

The student reproduces the teacher's softmax over its cosines to K anchors, which are teacher embeddings of training images. With
the teacher's class centers as anchors, this is IID (losses/instance.py, variant "kl") of the same scale, to the last rounding.
Relations to a set of other images are the idea of SEED (arXiv 2101.04731), whose queue of images is here a fixed draw.

B = images on this rank, D = embedding width, the same for both networks, K = anchors.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.divergence import divergence
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import above
from aird_plugin.losses.term import Needs, TermConfig


def anchor_kl_loss(
    student_BD: torch.Tensor,
    teacher_BD: torch.Tensor,
    anchor_KD: torch.Tensor,
    scale: float = 20.0,
    own_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over images of KL(teacher || student) of the softmax over scale * cosine to the anchors, in nats, 0 or more.

    own_B: None, or int64, the anchor that is the image itself, which the image leaves out; -1 where none is. No gradient reaches
    the teacher or the anchors. Half precision is computed in float32. Raises ValueError where the widths differ.
    """
    if not student_BD.shape == teacher_BD.shape == (len(student_BD), anchor_KD.shape[1]):
        raise ValueError(
            "KL over anchors needs embeddings of one width; got student "
            f"{tuple(student_BD.shape)}, teacher {tuple(teacher_BD.shape)}, anchors {tuple(anchor_KD.shape)}"
        )
    student_BD, teacher_BD, anchor_KD = (F.normalize(at_least_float32(x)) for x in (student_BD, teacher_BD, anchor_KD))
    anchor_DK = scale * anchor_KD.detach().T
    return divergence(student_BD @ anchor_DK, teacher_BD.detach() @ anchor_DK, excluded_B=own_B).mean()


@dataclass(frozen=True)
class AnchorKL(TermConfig):
    """Recipe keys of the term, with its name as prefix: `akl_weight`, `akl_scale`, `akl_anchors`.

    scale: factor of the cosines of both networks, as IID's. anchors: images drawn once from the bank by the run's seed, all of
    them where it has fewer.
    """

    scale: float = 20.0
    anchors: int = 4096

    needs = frozenset({Needs.TEACHER_WIDTH, Needs.ROWS, Needs.ANCHORS})

    def __post_init__(self):
        super().__post_init__()
        above(self, 0, "scale")
        if self.anchors < 3:
            raise ValueError(f"anchors must be 3 or more, as an image leaves itself out; got {self.anchors!r}")

    def build(self, dims) -> nn.Module:
        """As the base class. Raises ValueError for fewer than three images."""
        if dims.num_faces < 3:
            raise ValueError(f"KL over anchors needs three or more training images; got {dims.num_faces}")
        return AnchorKLLoss(self, dims.embedding_size)


class AnchorKLLoss(nn.Module):
    """`anchor_kl_loss` with anchors that `set_anchors` provides once, before the first step.

    The buffers are not saved: a resumed run draws the same anchors from its seed.
    """

    def __init__(self, spec: AnchorKL, width: int):
        super().__init__()
        self.spec = spec
        self.register_buffer("row_K", torch.zeros(0, dtype=torch.int64), persistent=False)
        self.register_buffer("anchor_KD", torch.zeros(0, width), persistent=False)

    def set_anchors(self, row_K: torch.Tensor, anchor_KD: torch.Tensor) -> None:
        """Keep the anchors. row_K: int64, ascending, their rows in the training set. anchor_KD: the teacher's embeddings."""
        self.row_K, self.anchor_KD = row_K, anchor_KD

    def own_anchor(self, row_B: torch.Tensor) -> torch.Tensor:
        """Index of each image among the anchors, -1 where it is none. int64 (B,)"""
        index_B = torch.searchsorted(self.row_K, row_B).clamp(max=len(self.row_K) - 1)
        return torch.where(self.row_K[index_B] == row_B, index_B, -1)

    def forward(self, inputs) -> torch.Tensor:
        assert len(self.row_K), "the setup calls set_anchors before the first step"
        own_B = self.own_anchor(inputs.row_B)
        return anchor_kl_loss(inputs.student_BD, inputs.teacher_BD, self.anchor_KD, self.spec.scale, own_B)
