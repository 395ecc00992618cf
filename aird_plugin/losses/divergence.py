"""Kullback-Leibler divergence of two softmaxes over sharded classes, whole or split by DKD (arXiv 2203.08679, equation 6).

B = images, C = classes on this rank.
"""

import torch
from torch.nn import functional as F

from aird_plugin.losses.sharding import SINGLE_SHARD, log_sum_exp, replace_target_, target_logit


def divergence(
    student_BC: torch.Tensor,
    teacher_BC: torch.Tensor,
    shards=SINGLE_SHARD,
    temperature: float = 1.0,
    excluded_B: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL(teacher || student) of the softmax over all classes, per row. (B,), in nats.

    excluded_B: None, or int64, a class that each row leaves out, -1 for none.
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
