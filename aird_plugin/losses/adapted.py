"""Bridge Distillation (arXiv 2409.11786; IEEE TIP 29, 2020), both of its steps. Its equations were not to be had: a reading.

The abstract says: the teacher, trained on private faces, is first adapted to public high faces, where its features become
"compact and discriminative"; then the student learns from low faces with two tasks, identity and "mimicking the adapted
high-resolution knowledge".

Step 1, `adapter_loss`, read as: one linear map without bias on the frozen teacher's embedding, so that no face can be learnt by
heart and the adapter is one matrix; identity by a margin softmax on the adapted embeddings, compactness as a centre loss
(the cosine to the own class centre), and closeness to the teacher: the cosine to its embedding, behind a linear decoder where the
adapted one is narrower. Alternatives: fully connected layers with ReLU between; distances of the batch in place of a decoder.

Step 2, `mimic_loss`: a public third-party text has cross-entropy + the sum over batch and widths of (m_t - m_s)^2. Read as: both
of length 1, because only directions are ever compared; summed over the width; the mean over faces, so that the weight holds for
any batch. It is then 2 * (1 - cos). Alternative: as printed, lengths and batch size entering the weight.

B = faces, C = classes, D = the teacher's width, E = the adapted width.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.margin import margin_logits, softmax_loss
from aird_plugin.losses.precision import at_least_float32


def adapter_loss(
    adapted_BE: torch.Tensor, restored_BD: torch.Tensor, teacher_BD: torch.Tensor, centres_CE: torch.Tensor,
    label_B: torch.Tensor, spec: "Adapted",
) -> torch.Tensor:  # fmt: skip
    """Step 1: identity + compactness * (1 - cos to the own centre) + closeness * (1 - cos(restored, teacher)); means over faces.

    restored_BD: the adapted embeddings as they compare with the teacher's: themselves, or decoded. The teacher gets no gradient.
    Raises ValueError where shapes do not fit.
    """
    if restored_BD.shape != teacher_BD.shape:
        raise ValueError(f"restored and teacher need one shape; got {tuple(restored_BD.shape)} and {tuple(teacher_BD.shape)}")
    cosine_BC = F.normalize(adapted_BE, dim=1) @ F.normalize(centres_CE, dim=1).T
    identity = softmax_loss(margin_logits(cosine_BC, label_B, (1.0, spec.margin, 0.0), spec.scale), label_B)
    compactness = 1 - cosine_BC.gather(1, label_B[:, None]).mean()
    closeness = (1 - F.cosine_similarity(restored_BD, teacher_BD.detach(), dim=1)).mean()
    return identity + spec.compactness * compactness + spec.closeness * closeness


def mimic_loss(student_BE: torch.Tensor, adapted_BE: torch.Tensor) -> torch.Tensor:
    """Step 2: squared distance of the two embeddings, each of length 1, summed over the width; mean over faces, from 0 to 4.

    No gradient reaches the adapted embeddings. Half precision is computed in float32.
    Raises ValueError where the two differ in shape.
    """
    if student_BE.shape != adapted_BE.shape:
        raise ValueError(
            "the student mimics embeddings of its own width; "
            f"student {tuple(student_BE.shape)}, adapted {tuple(adapted_BE.shape)}"
        )
    student_BE = F.normalize(at_least_float32(student_BE), dim=1)
    adapted_BE = F.normalize(adapted_BE.detach().to(student_BE.dtype), dim=1)
    return (adapted_BE - student_BE).square().sum(1).mean()


@dataclass(frozen=True)
class Adapted:
    """Recipe keys of the term, written with its name in front: `adapted_weight`, `adapted_width`, ...

    weight, warmup_epochs: of step 2. The others are step 1's, and the adapted part of the bank is tied to them. width: of the
    adapted embeddings, 0 for the teacher's; narrower ones leave the teacher's coordinates. epochs, lr: over the bank's faces.
    scale, margin: of the identity softmax. compactness, closeness: weights beside it. seed: of the order of faces. Step 1's
    defaults were chosen on a fifth of faces15k's people, kept out of the adapter's training.
    """

    weight: float = 4.0
    warmup_epochs: float = 0.0
    width: int = 0
    epochs: int = 10
    lr: float = 0.003
    scale: float = 16.0
    margin: float = 0.3
    compactness: float = 0.1
    closeness: float = 1.0
    seed: int = 0

    needs = frozenset({"adapted"})

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs must be 1 or more; got {self.epochs!r}")
        if not 0 < self.lr <= 1:
            raise ValueError(f"lr is above 0, at most 1; got {self.lr!r}")
        if not self.scale > 0:
            raise ValueError(f"scale must be above 0; got {self.scale!r}")
        for key in ("width", "margin", "compactness", "closeness", "seed"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} must be 0 or more; got {getattr(self, key)!r}")

    def build(self, sizes) -> nn.Module:
        """Step 2 as a module: views -> scalar."""
        return MimicLoss()


class MimicLoss(nn.Module):
    """`mimic_loss` on a step's views: in a recipe with this term, the teacher of every term is the adapted one."""

    def forward(self, views) -> torch.Tensor:
        return mimic_loss(views.student_BD, views.teacher_BD)
