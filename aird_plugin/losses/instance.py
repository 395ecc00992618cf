"""IID, the instance-level term of AIRD (arXiv 2409.02049, section III-B, equations 5 and 6), and true DKD beside it.

Equation 6 splits the Kullback-Leibler divergence from teacher to student into a target and a non-target part and adds them
with the weights that KL itself gives them: it IS plain KL at temperature 1. Decoupled Knowledge Distillation (arXiv
2203.08679) re-weighs the two parts, and is offered as `variant="dkd"`.

B = faces, C = classes on this rank.
"""

from dataclasses import dataclass

import torch
from torch import nn

from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.sharding import WHOLE, check_labels, is_target, log_sum_exp, target_logit

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
    student_BC = at_least_float32(student_logits_BC) / temperature
    teacher_BC = at_least_float32(teacher_logits_BC).detach() / temperature
    if variant == "kl":
        per_face_B = divergence(student_BC, teacher_BC, shards)
    else:
        target_B, other_B = decoupled(student_BC, teacher_BC, label_B, shards)
        per_face_B = alpha * target_B + beta * other_B
    return per_face_B.mean() * temperature**2


def divergence(student_BC: torch.Tensor, teacher_BC: torch.Tensor, shards=WHOLE) -> torch.Tensor:
    """KL(teacher || student) of the softmax over all classes, a row each. (B,), in nats."""
    log_t_BC = teacher_BC - log_sum_exp(teacher_BC, shards)[:, None]
    return _cross_shard_kl(log_t_BC.exp(), log_t_BC, student_BC, log_sum_exp(student_BC, shards), shards)


def decoupled(student_BC, teacher_BC, label_B, shards=WHOLE) -> tuple[torch.Tensor, torch.Tensor]:
    """DKD's two parts (arXiv 2203.08679, equation 6): KL of (own class, all others), and KL among the others alone. (B,) each.

    Everything stays in log space, so that a student that is confidently wrong gives a large number and no infinity.
    """
    target_BC = is_target(student_BC, label_B)
    own_s_B, rest_s_B = _own_and_rest(student_BC, label_B, target_BC, shards)
    own_t_B, rest_t_B = _own_and_rest(teacher_BC, label_B, target_BC, shards)
    log_s_B2 = torch.stack([own_s_B, rest_s_B], 1).log_softmax(1)
    log_t_B2 = torch.stack([own_t_B, rest_t_B], 1).log_softmax(1)
    target_B = (log_t_B2.exp() * (log_t_B2 - log_s_B2)).sum(1)
    log_qt_BC = teacher_BC - rest_t_B[:, None]
    return target_B, _cross_shard_kl(log_qt_BC.exp().masked_fill(target_BC, 0), log_qt_BC, student_BC, rest_s_B, shards)


def _cross_shard_kl(p_BC, log_p_BC, student_BC, student_total_B, shards) -> torch.Tensor:
    """Sum over classes of p * (log p - (student - total)); p sums to 1 over all shards.

    The student's total (a log-sum-exp) comes from all ranks, and its gradient is right only where every rank uses it alike
    (see `sharding`). Inside this rank's classes it therefore stands as a constant, and its gradient enters once, outside.
    """
    constant_B = student_total_B.detach()
    shard_B = (p_BC * (log_p_BC - student_BC + constant_B[:, None])).sum(1)
    return shards.sum(shard_B) + (student_total_B - constant_B)


def _own_and_rest(logits_BC, label_B, target_BC, shards):
    """Logit of the own class, and log-sum-exp of all the others."""
    others_BC = logits_BC.masked_fill(target_BC, torch.finfo(logits_BC.dtype).min)
    return target_logit(logits_BC, label_B, shards), log_sum_exp(others_BC, shards)


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
        spec = self.spec
        return instance_loss(
            spec.scale * views.student_cosine_GC, spec.scale * views.teacher_cosine_GC, views.label_G,
            spec.variant, spec.alpha, spec.beta, spec.temperature, views.shards,
        )  # fmt: skip
