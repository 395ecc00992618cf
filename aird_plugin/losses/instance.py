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

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.ranges import above, at_least
from aird_plugin.losses.sharding import SINGLE_SHARD, check_labels, is_target, log_sum_exp, replace_target_, target_logit
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
    if student_logits_BC.shape != teacher_logits_BC.shape:
        raise ValueError(
            f"student and teacher logits must have one shape; got {tuple(student_logits_BC.shape)} "
            f"and {tuple(teacher_logits_BC.shape)}"
        )
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


def divergence(
    student_BC: torch.Tensor,
    teacher_BC: torch.Tensor,
    shards=SINGLE_SHARD,
    temperature: float = 1.0,
    excluded_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL(teacher || student) of the softmax over all classes, per row. (B,), in nats. excluded_B: None, or int64, a class that
    each row leaves out, -1 for none.
    """
    if excluded_B is None:
        excluded_B = torch.full((len(student_BC),), -1, device=student_BC.device)
    return _NonTargetDivergence.apply(student_BC, teacher_BC, excluded_B, shards, temperature)[0]


def decoupled(
    student_BC: torch.Tensor, teacher_BC: torch.Tensor, label_B: torch.Tensor, shards=SINGLE_SHARD, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """DKD's two parts (arXiv 2203.08679, equation 6): target KL, of (own class, all others), and non-target KL. (B,) each.

    All computation is in log space, so that a confidently wrong student has a large but finite loss.
    """
    other_B, odds_s_B, odds_t_B = _NonTargetDivergence.apply(student_BC, teacher_BC, label_B, shards, temperature)
    return _binary_kl_term(odds_s_B, odds_t_B) + _binary_kl_term(-odds_s_B, -odds_t_B), other_B


def _binary_kl_term(odds_s_B: torch.Tensor, odds_t_B: torch.Tensor) -> torch.Tensor:
    """One of the two summands p_t (log p_t - log p_s) of a binary KL divergence, from its log odds."""
    log_t_B = F.logsigmoid(odds_t_B)
    return log_t_B.exp() * (log_t_B - F.logsigmoid(odds_s_B))


class _NonTargetDivergence(torch.autograd.Function):
    """KL(teacher || student) among the non-target classes, and the log odds of the target against them, each (B,).

    With q the softmax over the others, kl = sum q_t (log q_t - log q_s), odds = z_own - logsumexp of z over the others:
        d kl / d z_c = q_s - q_t        d odds / d z_c = -q_s        d odds / d z_own = 1
    The gradient is in closed form because it needs only the two softmaxes: a third of the time that autograd takes for its passes
    over (B, C). It also needs no communication between ranks. A row of label -1 excludes no class on this rank.
    """

    @staticmethod
    def forward(ctx, student_BC, teacher_BC, label_B, shards, temperature):
        student_BC, teacher_BC = student_BC / temperature, teacher_BC / temperature
        own_s_B, own_t_B = (target_logit(logits_BC, label_B, shards) for logits_BC in (student_BC, teacher_BC))
        for logits_BC in (student_BC, teacher_BC):
            replace_target_(logits_BC, label_B, torch.finfo(logits_BC.dtype).min)
        q_s_BC, share_s_B, rest_s_B = _softmax(student_BC, shards)
        q_t_BC, share_t_B, rest_t_B = _softmax(teacher_BC, shards)
        gap_B = shards.sum(share_t_B * teacher_BC.sub_(student_BC).mul_(q_t_BC).sum(1))
        ctx.save_for_backward(q_s_BC, share_s_B, q_t_BC, share_t_B, label_B)
        ctx.temperature = temperature
        odds_t_B = own_t_B - rest_t_B
        ctx.mark_non_differentiable(odds_t_B)
        return gap_B - rest_t_B + rest_s_B, own_s_B - rest_s_B, odds_t_B

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, kl_B, odds_B, _):
        q_s_BC, share_s_B, q_t_BC, share_t_B, label_B = ctx.saved_tensors
        kl_B, odds_B = kl_B / ctx.temperature, odds_B / ctx.temperature
        grad_BC = q_s_BC * ((kl_B - odds_B) * share_s_B)[:, None]
        grad_BC.addcmul_(q_t_BC, (kl_B * share_t_B)[:, None], value=-1)
        return replace_target_(grad_BC, label_B, odds_B[:, None]), None, None, None, None


def _softmax(logits_BC, shards) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The softmax over this rank's classes (B, C), their share of the total probability (B,), log-sum-exp over all ranks (B,)."""
    softmax_BC = logits_BC.softmax(1)
    here_B = logits_BC.amax(1) - softmax_BC.amax(1).log()
    total_B = log_sum_exp(here_B[:, None], shards)
    return softmax_BC, (here_B - total_B).exp(), total_B


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
