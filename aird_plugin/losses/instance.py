"""IID, the instance-level term of AIRD (arXiv 2409.02049, section III-B, equations 5 and 6), and true DKD beside it.

Equation 6 splits the Kullback-Leibler divergence from teacher to student into a target and a non-target part and adds them
with the weights that KL itself gives them: it IS plain KL at temperature 1. Decoupled Knowledge Distillation (arXiv
2203.08679) re-weighs the two parts, and is offered as `variant="dkd"`.

B = faces, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.sharding import WHOLE, check_labels, log_sum_exp, put_own_, target_logit

VARIANTS = ("kl", "dkd")


def instance_loss(
    student_logits_BC: torch.Tensor,
    teacher_logits_BC: torch.Tensor,
    label_B: torch.Tensor,
    variant: str = "kl",
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 1.0,
    shards=WHOLE,
) -> torch.Tensor:
    """How far the student's class probabilities are from the teacher's; mean over faces, in nats.

    Both logits already carry their scale. `temperature` divides them, and the result is multiplied by its square so that
    gradients keep their size. alpha and beta weigh the target and the non-target part of DKD; KL ignores them.
    No gradient reaches the teacher's logits. Half-precision logits are computed in float32.
    Raises ValueError for shapes that do not fit or an unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"iid_variant is one of {', '.join(VARIANTS)}; got {variant!r}")
    if student_logits_BC.shape != teacher_logits_BC.shape:
        raise ValueError(
            f"student and teacher need logits of one shape; got {tuple(student_logits_BC.shape)} "
            f"and {tuple(teacher_logits_BC.shape)}"
        )
    check_labels(student_logits_BC, label_B)
    student_BC = at_least_float32(student_logits_BC)
    teacher_BC = at_least_float32(teacher_logits_BC)
    if variant == "kl":
        per_face_B = divergence(student_BC, teacher_BC, shards, temperature)
    else:
        target_B, other_B = decoupled(student_BC, teacher_BC, label_B, shards, temperature)
        per_face_B = alpha * target_B + beta * other_B
    return per_face_B.mean() * temperature**2


def divergence(student_BC: torch.Tensor, teacher_BC: torch.Tensor, shards=WHOLE, temperature: float = 1.0) -> torch.Tensor:
    """KL(teacher || student) of the softmax over all classes, a row each. (B,), in nats."""
    nowhere_B = torch.full((len(student_BC),), -1, device=student_BC.device)
    return _DivergenceOfOthers.apply(student_BC, teacher_BC, nowhere_B, shards, temperature)[0]


def decoupled(student_BC, teacher_BC, label_B, shards=WHOLE, temperature: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """DKD's two parts (arXiv 2203.08679, equation 6): KL of (own class, all others), and KL among the others alone. (B,) each.

    Everything stays in log space, so that a student that is confidently wrong gives a large number and no infinity.
    """
    other_B, odds_s_B, odds_t_B = _DivergenceOfOthers.apply(student_BC, teacher_BC, label_B, shards, temperature)
    return _one_of_two(odds_s_B, odds_t_B) + _one_of_two(-odds_s_B, -odds_t_B), other_B


def _one_of_two(odds_s_B, odds_t_B) -> torch.Tensor:
    """One side's summand p_t (log p_t - log p_s) of the KL between two coins, from the log odds of that side."""
    log_t_B = F.logsigmoid(odds_t_B)
    return log_t_B.exp() * (log_t_B - F.logsigmoid(odds_s_B))


class _DivergenceOfOthers(torch.autograd.Function):
    """KL(teacher || student) among the classes that are not the own, and the log odds of the own against them, each (B,).

    With q the softmax over the others, kl = sum q_t (log q_t - log q_s), odds = z_own - logsumexp of z over the others:
        d kl / d z_c = q_s - q_t        d odds / d z_c = -q_s        d odds / d z_own = 1
    The gradient stands here in closed form because the two softmaxes are all it needs: a third of the time that autograd takes
    for its passes over (B, C). It also asks nothing of the other ranks. A row of label -1 leaves no class out here.
    """

    @staticmethod
    def forward(ctx, student_BC, teacher_BC, label_B, shards, temperature):
        student_BC, teacher_BC = student_BC / temperature, teacher_BC / temperature
        own_s_B, own_t_B = (target_logit(logits_BC, label_B, shards) for logits_BC in (student_BC, teacher_BC))
        for logits_BC in (student_BC, teacher_BC):
            put_own_(logits_BC, label_B, torch.finfo(logits_BC.dtype).min)
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
        return put_own_(grad_BC, label_B, odds_B[:, None]), None, None, None, None


def _softmax(logits_BC, shards) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The softmax over this rank's classes (B, C), their share of the mass on all ranks (B,), and log-sum-exp over all (B,)."""
    softmax_BC = logits_BC.softmax(1)
    here_B = logits_BC.amax(1) - softmax_BC.amax(1).log()
    total_B = log_sum_exp(here_B[:, None], shards)
    return softmax_BC, (here_B - total_B).exp(), total_B


@dataclass(frozen=True)
class Instance:
    """Recipe keys of the term (written with its name in front: `iid_weight`, `iid_scale`, ...).

    scale: what multiplies the margin-free cosines of both networks. At the head's 64 the teacher's non-target mass is about
    1e-15 and the term silently becomes a second cross-entropy; at 16 it is graded.
    """

    weight: float = 1.0
    warmup_epochs: float = 0.0
    scale: float = 16.0
    variant: str = "kl"
    alpha: float = 1.0
    beta: float = 8.0
    temperature: float = 1.0

    needs = frozenset({"teacher_cosine"})

    def __post_init__(self):
        if self.variant not in VARIANTS:
            raise ValueError(f"variant is one of {', '.join(VARIANTS)}; got {self.variant!r}")
        for key in ("scale", "temperature"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0; got {getattr(self, key)!r}")

    def build(self, sizes) -> nn.Module:
        """The term as a module: views -> scalar."""
        return InstanceLoss(self)


class InstanceLoss(nn.Module):
    """`instance_loss` on the margin-free cosines of both networks."""

    def __init__(self, spec: Instance = Instance()):
        super().__init__()
        self.spec = spec

    def forward(self, views) -> torch.Tensor:
        # A cosine at temperature T / scale is its logit at T, and both together are one pass over the table.
        spec = self.spec
        loss = instance_loss(
            views.student_cosine_GC, views.teacher_cosine_GC, views.label_G,
            spec.variant, spec.alpha, spec.beta, spec.temperature / spec.scale, views.shards,
        )  # fmt: skip
        return loss * spec.scale**2
