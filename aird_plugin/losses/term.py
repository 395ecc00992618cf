"""Base classes of the specs that a recipe names, and the inputs that a spec may require.

A spec is a frozen dataclass; its fields are recipe keys with the term's name (or `margin`) as prefix.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from torch import nn

from aird_plugin.losses.ranges import at_least


class Needs(StrEnum):
    """Inputs of a term or margin that are not always present. A member equals its string."""

    # Teacher embeddings of any width.
    TEACHER = "teacher"
    # Teacher embeddings of the student's width; for a margin, the cosine between the two networks' embeddings.
    TEACHER_WIDTH = "teacher_width"
    # Cosines of the teacher embeddings to the teacher's class centers.
    TEACHER_COSINE = "teacher_cosine"
    # An anchor (positive) and hard negatives of each image, from the lists of the teacher cache.
    NEIGHBOURS = "neighbours"
    # Teacher embeddings after the learned linear projection of Bridge Distillation.
    ADAPTED = "adapted"
    # Identity labels: label_B, label_G, student_cosine_GC. TEACHER_COSINE, NEIGHBOURS and ADAPTED need them too.
    LABELS = "labels"
    # Teacher embeddings of images drawn from the bank: the term has `set_anchors(row_K, anchor_KD)`, its spec `anchors` (K).
    ANCHORS = "anchors"
    # The teacher's class center of each image without that image: the term has `set_left_out(left_out_ND, student_too)`.
    LEFT_OUT = "left_out"
    # Index of each image in the training set.
    ROWS = "rows"
    # Pairs of intermediate feature maps of student and teacher.
    MAPS = "maps"
    # Features of a diffusion prior, and the student's feature maps.
    GENERATIVE = "generative"
    # Margins only: the norm of each student embedding.
    NORM = "norm"


@dataclass(frozen=True)
class TermConfig:
    """Spec of a term. The total loss adds `weight` * term; the weight grows linearly over the first `warmup_epochs`.

    A spec with a `__post_init__` of its own calls this one first. Raises ValueError for a value below 0.
    """

    weight: float = 1.0
    warmup_epochs: float = 0.0

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self):
        at_least(self, 0, "weight", "warmup_epochs")

    @property
    def unused(self) -> dict[str, str]:
        """Fields without an effect beside another field's value, and that value: {"alpha": "variant='kl'"}."""
        return {}

    def build(self, dims: Any) -> nn.Module:
        """The term as a module LossInputs -> scalar. dims: a `LossDims`, the dimensions of its parameters and buffers."""
        raise NotImplementedError(f"{type(self).__name__} must define build(dims)")


@dataclass(frozen=True)
class MarginConfig:
    """Spec of a margin: no weight, and a scale that the head passes to `build`."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def build(self, scale: float) -> nn.Module:
        """The margin as a module (see `losses/margin.py`): cosines -> scaled logits and a regulariser or None."""
        raise NotImplementedError(f"{type(self).__name__} must define build(scale)")
