"""IID, the instance-level term of AIRD (arXiv 2409.02049, section III-B, equations 5 and 6), and standard DKD as an option.

Equation 6 splits the Kullback-Leibler divergence from teacher to student into a target and a non-target part and adds them
with the weights that KL itself gives them: it is plain KL at temperature 1. Decoupled Knowledge Distillation (arXiv 2203.08679)
re-weights the two parts and is available as `variant="dkd"`.

The teacher's class center of an identity contains the image itself: at scale 16 the teacher's own-class probability of a training
image is 0.84 to 0.99, and 1 in effect for an identity with a single image, whose center is its own embedding. With
`leave_one_out` each image is compared with the center of the identity's other images.

B, G = images on this rank, on all ranks, C = classes on this rank, N = training images, D = embedding width.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.divergence import decoupled, divergence
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import above, at_least, one_shape
from aird_plugin.losses.sharding import SINGLE_SHARD, check_labels, is_target
from aird_plugin.losses.term import Needs, TermConfig

VARIANTS = ("kl", "dkd")
LEFT_OUT = {Needs.TEACHER_WIDTH, Needs.ROWS, Needs.LEFT_OUT}


def instance_loss(
    student_logits_BC: torch.Tensor,
    teacher_logits_BC: torch.Tensor,
    label_B: torch.Tensor,
    variant: str = "kl",
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 1.0,
    shards=SINGLE_SHARD,
    single_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL or DKD divergence of the student's class probabilities from the teacher's; mean over images, in nats.

    Both logits include their scale. `temperature` divides them, and the result is multiplied by its square so that gradients keep
    their magnitude. alpha and beta weight the target and the non-target part of DKD; KL ignores them. No gradient reaches the
    teacher's logits. Half-precision logits are computed in float32.
    single_B: None, or bool, the images whose own class is left out of both softmaxes, on every rank; they have no target part.
    Raises ValueError for shapes that do not match or an unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"iid_variant is one of {', '.join(VARIANTS)}; got {variant!r}")
    one_shape("student and teacher logits", student_logits_BC, teacher_logits_BC)
    check_labels(student_logits_BC, label_B)
    student_BC = at_least_float32(student_logits_BC)
    teacher_BC = at_least_float32(teacher_logits_BC)
    if variant == "kl":
        excluded_B = None if single_B is None else torch.where(single_B, label_B, -1)
        loss_B = divergence(student_BC, teacher_BC, shards, temperature, excluded_B)
    else:
        target_B, other_B = decoupled(student_BC, teacher_BC, label_B, shards, temperature)
        target_B = target_B if single_B is None else target_B * ~single_B
        loss_B = alpha * target_B + beta * other_B
    return loss_B.mean() * temperature**2


@dataclass(frozen=True)
class IID(TermConfig):
    """Recipe keys of the term, with its name as prefix: `iid_weight`, `iid_scale`, ...

    scale: factor of the margin-free cosines of both networks. At the head's 64 the teacher's non-target probability is about
    1e-15 and the term silently becomes a second cross-entropy; at 16 the non-target classes contribute. temperature: the logits
    are divided by it, and the loss is multiplied by its square (arXiv 1503.02531): scale / temperature sets how many classes
    contribute, temperature the weight of the term besides. leave_one_out: the teacher's own-class cosine of an image is that to
    the normalised mean of its identity's other images; with centers="frozen" the student's too, otherwise the student keeps its
    own class center. The own class of an identity with a single image is left out of both softmaxes, so that such an image
    teaches which other identities it resembles, and nothing else. It holds float16 (N, D) on the training device.
    """

    scale: float = 16.0
    variant: str = "kl"
    alpha: float = 1.0
    beta: float = 8.0
    temperature: float = 1.0
    leave_one_out: bool = False

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The teacher's cosines; with leave_one_out also rows and the teacher's embeddings."""
        return frozenset({Needs.TEACHER_COSINE} | (LEFT_OUT if self.leave_one_out else set()))

    def __post_init__(self):
        super().__post_init__()
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is one of {', '.join(VARIANTS)}; got {self.variant!r}")
        above(self, 0, "scale", "temperature")
        at_least(self, 0, "alpha", "beta")
        if self.variant == "dkd" and not self.alpha + self.beta:
            raise ValueError("alpha and beta are both 0, and DKD would be too; give one of them a weight above 0")

    @property
    def unused(self) -> dict[str, str]:
        """As the base class: plain KL has no parts to weigh."""
        return dict.fromkeys(("alpha", "beta"), "variant='kl'") if self.variant == "kl" else {}

    def build(self, dims) -> nn.Module:
        return IIDLoss(self, dims.embedding_size)


class IIDLoss(nn.Module):
    """`instance_loss` of the margin-free cosines of both networks."""

    def __init__(self, spec: IID = IID(), width: int = 0):
        super().__init__()
        self.spec = spec
        self.student_left_out = False
        self.left_out_ND: torch.Tensor
        self.register_buffer("left_out_ND", torch.zeros(0, width), persistent=False)

    def set_left_out(self, left_out_ND: torch.Tensor, student_too: bool) -> None:
        """Keep, for each training image, the normalised mean of the other images of its identity; zeros where there are none.

        student_too: whether the student's own-class cosine is replaced as well. A resumed run computes them again.
        """
        self.left_out_ND, self.student_left_out = left_out_ND, student_too

    def forward(self, inputs) -> torch.Tensor:
        # A cosine at temperature T / scale equals a scaled logit at T: one pass over the table instead of two.
        spec = self.spec
        student_GC, teacher_GC, single_G = inputs.student_cosine_GC, inputs.teacher_cosine_GC, None
        if spec.leave_one_out:
            student_GC, teacher_GC, single_G = self._without_itself(inputs)
        loss = instance_loss(
            student_GC,
            teacher_GC,
            inputs.label_G,
            spec.variant,
            spec.alpha,
            spec.beta,
            spec.temperature / spec.scale,
            inputs.shards,
            single_G,
        )
        return loss * spec.scale**2

    def _without_itself(self, inputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Both networks' cosines (G, C) with each image left out of its own center, and which images have no other (G,)."""
        assert len(self.left_out_ND), "the setup calls set_left_out before the first step"
        center_BD = at_least_float32(self.left_out_ND[inputs.row_B])

        def replaced(cosine_GC: torch.Tensor, embeddings_BD: torch.Tensor) -> torch.Tensor:
            own_G = inputs.shards.gather_rows((F.normalize(embeddings_BD) * center_BD).sum(1))
            return torch.where(is_target(cosine_GC, inputs.label_G), own_G[:, None], cosine_GC)

        student_GC = inputs.student_cosine_GC
        if self.student_left_out:
            student_GC = replaced(student_GC, inputs.student_BD)
        single_G = inputs.shards.gather((center_BD == 0).all(1).to(center_BD.dtype)) > 0
        return student_GC, replaced(inputs.teacher_cosine_GC, inputs.teacher_BD), single_G
