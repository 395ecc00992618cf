"""The contrast of a positive with negatives, from their cosines: CRD's noise-contrastive estimator, and InfoNCE.

B = rows, K = negatives of a row.
"""

import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.losses.precision import at_least_float32


def nce_loss(
    positive_B: torch.Tensor,
    negative_BK: torch.Tensor,
    allowed_BK: torch.Tensor,
    temperature: float,
    log_mean_score: torch.Tensor,
) -> torch.Tensor:
    """Equation 4 with CRD's estimator (arXiv 1910.10699): -log h(positive) - sum over negatives of log(1 - h). (B,)

    h = P / (P + K / N), P = exp(cos / T) / Z, and Z = N * mean score of the first batch, so N cancels:
    h = sigmoid(cos / T - log_mean_score - log K), K the number of allowed negatives in the row.
    """
    log_count_B = allowed_BK.sum(1).clamp(min=1).to(positive_B.dtype).log()
    shift_B = log_mean_score + log_count_B
    # -log(1 - h) is the softplus of the log odds of h.
    negative_cost_BK = F.softplus(negative_BK / temperature - shift_B[:, None]).masked_fill(~allowed_BK, 0)
    return F.softplus(shift_B - positive_B / temperature) + negative_cost_BK.sum(1)


@torch.no_grad()
def init_nce_normaliser(
    log_mean_score: torch.Tensor,
    positive_B: torch.Tensor,
    negative_BK: torch.Tensor,
    allowed_BK: torch.Tensor,
    in_loss_B: torch.Tensor,
    temperature: float,
    shards,
) -> None:
    """CRD's Z, the mean score of the first batch on all ranks, then constant: sets `log_mean_score` in place if it is NaN.

    The mean is over the pairs of the loss: positives and allowed negatives of the rows `in_loss_B`; over all pairs if the batch
    has none.
    """
    if torch.isnan(log_mean_score):
        score_BX = (at_least_float32(torch.cat([positive_B[:, None], negative_BK], 1)) / temperature).exp()
        counted_BX = torch.cat([in_loss_B[:, None], allowed_BK & in_loss_B[:, None]], 1)
        count = shards.mean_over_ranks(counted_BX.to(score_BX.dtype).sum())
        counted_mean = shards.mean_over_ranks(score_BX.where(counted_BX, 0).sum()) / count
        mean = torch.where(count > 0, counted_mean, shards.mean_over_ranks(score_BX.mean()))
        log_mean_score.copy_(mean.log())


def reset_normaliser_cache(module: nn.Module, _) -> None:
    """Load hook: forget which normalisers are initialised, since the loaded ones may be NaN.

    Checking for NaN in each step would synchronise host and device, so a module caches the names of the initialised ones.
    """
    module.normalised.clear()


def info_nce_loss(
    positive_B: torch.Tensor, negative_BK: torch.Tensor, allowed_BK: torch.Tensor, temperature: float
) -> torch.Tensor:
    """-log of the positive's softmax probability among the positive and the allowed negatives. (B,)"""
    lowest = torch.finfo(negative_BK.dtype).min
    logits_BX = torch.cat([positive_B[:, None], negative_BK.masked_fill(~allowed_BK, lowest)], 1) / temperature
    return -F.log_softmax(logits_BX.clamp(min=lowest), 1)[:, 0]
