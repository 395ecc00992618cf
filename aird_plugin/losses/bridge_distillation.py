"""Bridge Distillation (arXiv 2409.11786; IEEE TIP 29, 2020), both steps. An interpretation: its equations were not available.

The abstract says: the teacher, trained on private faces, is first adapted to public HR faces, where its features become
"compact and discriminative"; then the student learns from LR faces with two tasks, identity and "mimicking the adapted
high-resolution knowledge".

Step 1, `adapter_loss`, is implemented as one linear map without bias on the frozen teacher's embedding, so that it cannot
memorise single images and is one matrix. Identity is a margin softmax on the projected embeddings; compactness is a center loss
(the cosine to the own class center); closeness to the teacher is the cosine to its embedding, after a linear decoder where the
projection is narrower. Alternatives: fully connected layers with ReLU between them; pairwise distances within the batch instead
of a decoder.

Step 2, `mimic_loss`: a public third-party text has cross-entropy + the sum over batch and dimensions of (m_t - m_s)^2. Here both
embeddings are normalised, because only directions are ever compared; the square is summed over the dimensions and averaged over
the images, so that the weight holds for any batch size. It then equals 2 * (1 - cos). Alternative: as printed, where norms and
batch size enter the weight.

B = images, C = classes, D = the teacher's width, E = the projection's width.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.margin import margin_logits, softmax_loss
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import above, angles, at_least, one_shape
from aird_plugin.losses.term import Needs, TermConfig


def adapter_loss(
    adapted_BE: torch.Tensor,
    restored_BD: torch.Tensor,
    teacher_BD: torch.Tensor,
    centers_CE: torch.Tensor,
    label_B: torch.Tensor,
    spec: "BridgeDistillation",
) -> torch.Tensor:
    """Step 1: identity + compactness * (1 - cos to the own center) + closeness * (1 - cos(restored, teacher)); means over images.

    restored_BD: the projected embeddings in the teacher's width: unchanged, or decoded. The teacher gets no gradient.
    Raises ValueError where shapes do not match.
    """
    one_shape("restored and teacher", restored_BD, teacher_BD)
    cosine_BC = F.normalize(adapted_BE, dim=1) @ F.normalize(centers_CE, dim=1).T
    identity = softmax_loss(margin_logits(cosine_BC, label_B, (1.0, spec.margin, 0.0), spec.scale), label_B)
    compactness = 1 - cosine_BC.gather(1, label_B[:, None]).mean()
    closeness = (1 - F.cosine_similarity(restored_BD, teacher_BD.detach(), dim=1)).mean()
    return identity + spec.compactness * compactness + spec.closeness * closeness


def mimic_loss(student_BE: torch.Tensor, adapted_BE: torch.Tensor) -> torch.Tensor:
    """Step 2: squared distance of the two normalised embeddings, summed over the dimensions; mean over images, from 0 to 4.

    No gradient reaches the projected embeddings. Half precision is computed in float32.
    Raises ValueError where the shapes differ.
    """
    one_shape("Bridge Distillation: student's and projected embeddings", student_BE, adapted_BE)
    student_BE = F.normalize(at_least_float32(student_BE), dim=1)
    adapted_BE = F.normalize(adapted_BE.detach().to(student_BE.dtype), dim=1)
    return (adapted_BE - student_BE).square().sum(1).mean()


@dataclass(frozen=True)
class BridgeDistillation(TermConfig):
    """Recipe keys of the term, with its name as prefix: `adapted_weight`, `adapted_width`, ...

    weight, warmup_epochs: of step 2. All other keys belong to step 1, and the bank's projection is tied to them. width: of the
    projected embeddings, 0 for the teacher's; a narrower projection leaves the teacher's coordinates. epochs, lr: of the training
    on the bank's images. scale, margin: of the identity softmax. compactness, closeness: weights of the other two parts. seed: of
    the image order. Step 1's defaults were chosen on a fifth of faces15k's identities, held out from the projection's training.
    """

    weight: float = 4.0
    width: int = 0
    epochs: int = 10
    lr: float = 0.003
    scale: float = 16.0
    margin: float = 0.3
    compactness: float = 0.1
    closeness: float = 1.0
    seed: int = 0

    needs = frozenset({Needs.ADAPTED})

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 1, "epochs")
        if not 0 < self.lr <= 1:
            raise ValueError(f"lr must be above 0 and at most 1; got {self.lr!r}")
        above(self, 0, "scale")
        angles(self, "margin")
        at_least(self, 0, "width", "compactness", "closeness", "seed")

    def build(self, dims) -> nn.Module:
        return BridgeDistillationLoss()


class BridgeDistillationLoss(nn.Module):
    """`mimic_loss` of a step's embeddings. With this term in a recipe, every term gets the projected teacher embeddings."""

    def forward(self, inputs) -> torch.Tensor:
        return mimic_loss(inputs.student_BD, inputs.teacher_BD)
