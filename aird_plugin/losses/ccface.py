"""CCFace, classification consistency for low-resolution faces (arXiv 2308.09230): what we read from its abstract.

Neither the equations nor code of the authors were to be had. The abstract names three things; each is a reading of ours:
1. The student keeps the teacher's classifier: `head_frozen` (models/head.py).
2. An adaptive angular penalty: `AdaptiveMargin`. m_i = m0 * max(0, cos(f_s, f_t)) of the face's student and teacher embeddings:
   a low face on which the student is not yet with the teacher gets little margin, which is what the abstract promises of it
   (less overfitting to low faces, easier convergence). Alternatives: AdaFace's length statistic (losses/adaface.py); the cosine
   to the own class.
3. Asymmetric cross-resolution learning in the manner of semi-supervised methods: `Consistency`. The high view's prediction,
   which is the frozen teacher's class probabilities, is the target of the low view, only where it is confident (FixMatch, arXiv
   2001.07685: a fixed threshold of 0.95, mean over all faces). The target keeps its probabilities and gets no gradient.
   Alternatives: its strongest class alone, as FixMatch has it; FreeMatch's threshold (arXiv 2205.07246), which follows the mean
   confidence; an average of the student for the high view's network.

G = faces on all ranks, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.instance import divergence
from aird_plugin.losses.margin import easy_angular, own_cosine, put_own
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.sharding import WHOLE, check_labels, log_sum_exp


@dataclass(frozen=True)
class AdaptiveMargin:
    """Recipe key of the margin: `margin_m`, radians, the margin of a face on which student and teacher agree fully."""

    m: float = 0.5

    needs = frozenset({"teacher_width"})

    def __post_init__(self):
        if not self.m >= 0:
            raise ValueError(f"m must be 0 or more; got {self.m!r}")

    def build(self, scale: float) -> nn.Module:
        """The margin as a module."""
        return AgreementMargin(self, scale)


class AgreementMargin(nn.Module):
    """s * cos(angle + m * agreement), agreement clipped to 0..1, for the own class; no gradient through the agreement."""

    def __init__(self, spec: AdaptiveMargin, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale

    def forward(self, cosine_GC, label_G, norm_G=None, agreement_G=None, shards=WHOLE):
        check_labels(cosine_GC, label_G)
        margin_G = self.spec.m * agreement_G.detach().clamp(0, 1)
        return self.scale * put_own(cosine_GC, label_G, easy_angular(own_cosine(cosine_GC, label_G), margin_G)), None


def consistency_loss(student_GC, teacher_GC, threshold: float, shards=WHOLE) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(teacher || student) of the class probabilities where the teacher is confident, mean over all faces; and their share.

    for each face: if max of softmax(teacher) > threshold: total += KL;  return total / G, count / G

    Logits carry their scale. Half precision is computed in float32; no gradient reaches the teacher's.
    """
    student_GC = at_least_float32(student_GC)
    teacher_GC = teacher_GC.detach().to(student_GC.dtype)
    confidence_G = (shards.max(teacher_GC.amax(1)) - log_sum_exp(teacher_GC, shards)).exp()
    confident_G = (confidence_G > threshold).to(student_GC.dtype)
    return (divergence(student_GC, teacher_GC, shards) * confident_G).mean(), confident_G.mean()


@dataclass(frozen=True)
class Consistency:
    """Recipe keys of the term (with its name in front: `consistency_weight`, ...).

    scale: what multiplies both networks' cosines, as `iid_scale` does. threshold: the confidence above which the teacher's
    prediction is a target, 0 to below 1. At scale 16 and 0.95 the teacher of the shipped data is confident about 47 faces in 100
    as they are, and 33 of their jittered views; at scale 32 about 94 of them. With sample_rate below 1 the probabilities are
    those of the sampled classes alone, and more faces are confident. metrics.jsonl tells the share of each step as
    `consistency_share`.
    """

    weight: float = 1.0
    warmup_epochs: float = 0.0
    scale: float = 16.0
    threshold: float = 0.95

    needs = frozenset({"teacher_cosine"})

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0; got {self.scale!r}")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold is a probability, 0 to below 1; got {self.threshold!r}")

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar."""
        return ConsistencyLoss(self)


class ConsistencyLoss(nn.Module):
    """`consistency_loss` on the margin-free cosines; `watched` tells the share of confident faces."""

    def __init__(self, spec: Consistency = Consistency()):
        super().__init__()
        self.spec = spec
        self.watched: dict[str, torch.Tensor] = {}

    def forward(self, views) -> torch.Tensor:
        scale = self.spec.scale
        loss, share = consistency_loss(
            scale * views.student_cosine_GC, scale * views.teacher_cosine_GC, self.spec.threshold, views.shards
        )
        self.watched = {"share": share}
        return loss
