"""CCFace, classification consistency for low-resolution faces (arXiv 2308.09230), implemented from its abstract.

Neither the equations nor the authors' code were available. The abstract names three parts; each is an interpretation:
1. The student keeps the teacher's classifier: `centers="frozen"` (models/head.py).
2. An adaptive angular penalty: `AdaptiveMargin`. m_i = m0 * max(0, cos(f_s, f_t)) of the image's student and teacher embeddings:
   an LR image on which the student does not yet agree with the teacher gets a small margin, which is what the abstract promises
   (less overfitting to LR images, easier convergence). Alternatives: AdaFace's norm statistic (losses/adaface.py); the cosine to
   the own class.
3. Asymmetric cross-resolution learning in the manner of semi-supervised methods: `Consistency`. The prediction for the HR image,
   which is the frozen teacher's class probabilities, is the target for the LR image where it is confident (FixMatch, arXiv
   2001.07685: a fixed threshold of 0.95, mean over all images). The target is the full distribution and gets no gradient.
   Alternatives: the most probable class only, as in FixMatch; FreeMatch's threshold (arXiv 2205.07246), which follows the mean
   confidence; an average of the student as the network for the HR image.

G = images on all ranks, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.divergence import divergence
from aird_plugin.losses.margin import easy_angular, replace_target, target_cosine
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import above, angles
from aird_plugin.losses.sharding import SINGLE_SHARD, check_labels, log_sum_exp
from aird_plugin.losses.term import MarginConfig, Needs, TermConfig


@dataclass(frozen=True)
class AdaptiveMargin(MarginConfig):
    """Recipe key of the margin: `margin_m`, radians, the margin of an image whose student and teacher embeddings coincide."""

    m: float = 0.5

    needs = frozenset({Needs.TEACHER_WIDTH})

    def __post_init__(self):
        angles(self, "m")

    def build(self, scale: float) -> nn.Module:
        return AgreementMargin(self, scale)


class AgreementMargin(nn.Module):
    """Target logit s * cos(angle + m * agreement), agreement clipped to 0..1; no gradient through the agreement."""

    def __init__(self, spec: AdaptiveMargin, scale: float):
        super().__init__()
        self.spec, self.scale = spec, scale

    def forward(self, cosine_GC, label_G, norm_G=None, agreement_G=None, shards=SINGLE_SHARD):
        check_labels(cosine_GC, label_G)
        margin_G = self.spec.m * agreement_G.detach().clamp(0, 1)
        return self.scale * replace_target(cosine_GC, label_G, easy_angular(target_cosine(cosine_GC, label_G), margin_G)), None


def consistency_loss(student_GC, teacher_GC, threshold: float, shards=SINGLE_SHARD) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(teacher || student) of the class probabilities where the teacher is confident, mean over all images; and their share.

    for each image: if max of softmax(teacher) > threshold: total += KL;  return total / G, count / G

    The logits include their scale. Half precision is computed in float32; no gradient reaches the teacher.
    """
    student_GC = at_least_float32(student_GC)
    teacher_GC = teacher_GC.detach().to(student_GC.dtype)
    confidence_G = (shards.max(teacher_GC.amax(1)) - log_sum_exp(teacher_GC, shards)).exp()
    confident_G = (confidence_G > threshold).to(student_GC.dtype)
    return (divergence(student_GC, teacher_GC, shards) * confident_G).mean(), confident_G.mean()


@dataclass(frozen=True)
class Consistency(TermConfig):
    """Recipe keys of the term, with its name as prefix: `consistency_weight`, ...

    scale: factor of both networks' cosines, like `iid_scale`. threshold: the confidence above which the teacher's prediction is a
    target, 0 to below 1. At scale 16 and 0.95 the teacher of the shipped data is confident on 47 of 100 images without jitter and
    on 33 of their jittered views; at scale 32 on about 94 of them. With sample_rate below 1 the probabilities cover the sampled
    classes only, and more images exceed the threshold. The share of each step is logged to metrics.jsonl as `consistency_share`.
    """

    scale: float = 16.0
    threshold: float = 0.95

    needs = frozenset({Needs.TEACHER_COSINE})

    def __post_init__(self):
        super().__post_init__()
        above(self, 0, "scale")
        if not 0 <= self.threshold < 1:
            raise ValueError(f"threshold must be a probability, 0 to below 1; got {self.threshold!r}")

    def build(self, dims) -> nn.Module:
        return ConsistencyLoss(self)


class ConsistencyLoss(nn.Module):
    """`consistency_loss` of the margin-free cosines; `metrics` holds the share of confident images."""

    def __init__(self, spec: Consistency = Consistency()):
        super().__init__()
        self.spec = spec
        self.metrics: dict[str, torch.Tensor] = {}

    def forward(self, inputs) -> torch.Tensor:
        scale = self.spec.scale
        loss, share = consistency_loss(
            scale * inputs.student_cosine_GC, scale * inputs.teacher_cosine_GC, self.spec.threshold, inputs.shards
        )
        self.metrics = {"share": share}
        return loss
