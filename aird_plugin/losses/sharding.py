"""Sums over classes that may be sharded over several ranks.

A loss over class logits takes `shards`: an object with `sum(x)` and `max(x)`, each combining a per-row value of this rank's
classes with those of the other ranks. `SINGLE_SHARD` is the case of one rank that holds every class; `utils.distributed` has
the other. Where a label's class is on another rank, the label is -1 here.

`gather` returns the rows of all ranks, for a loss that every rank computes identically over all images. `gather_rows` does too,
for values that each rank uses with its own classes only: its gradient is the sum over ranks.
`sum` differentiates as if each rank owned its summand of one common number: its result may only enter terms that every rank
computes identically, and must not be combined with this rank's own classes again (detach it there).
"""

import torch


class SingleShard:
    """One rank holds every class; every operation returns its input."""

    is_sharded = False

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def max(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def mean_over_ranks(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def gather(self, rows_BX: torch.Tensor) -> torch.Tensor:
        return rows_BX

    def gather_rows(self, rows_BX: torch.Tensor) -> torch.Tensor:
        return rows_BX

    def first_row(self, count: int) -> int:
        """Place of the first of this rank's `count` rows among the gathered ones."""
        return 0


SINGLE_SHARD = SingleShard()


def log_sum_exp(logits_BC: torch.Tensor, shards=SINGLE_SHARD) -> torch.Tensor:
    """log of the sum over all classes, on every rank, of exp(logit). (B,)"""
    if not shards.is_sharded:
        return torch.logsumexp(logits_BC, 1)
    top_B = shards.max(logits_BC.detach().amax(1))
    return top_B + shards.sum((logits_BC - top_B[:, None]).exp().sum(1)).log()


def is_target(logits_BC: torch.Tensor, label_B: torch.Tensor) -> torch.Tensor:
    """Mask of each row's own class; all False for a row whose class is on another rank (label -1). bool (B, C)"""
    classes_C = torch.arange(logits_BC.shape[1], device=logits_BC.device)
    return classes_C == label_B[:, None]


def target_logit(logits_BC: torch.Tensor, label_B: torch.Tensor, shards=SINGLE_SHARD) -> torch.Tensor:
    """The logit of each row's own class, from the rank that holds it. (B,)"""
    own_B = logits_BC.gather(1, label_B.clamp(min=0)[:, None])[:, 0]
    return shards.sum(own_B * (label_B >= 0))


def replace_target_(table_BC: torch.Tensor, label_B: torch.Tensor, own_B1: torch.Tensor | float) -> torch.Tensor:
    """Replace the entry of each row's own class, in place; a row whose class is on another rank (label -1) stays unchanged."""
    index_B1 = label_B.clamp(min=0)[:, None]
    here_B1 = label_B[:, None] >= 0
    return table_BC.scatter_(1, index_B1, torch.where(here_B1, own_B1, table_BC.gather(1, index_B1)))


def check_labels(logits_BC: torch.Tensor, label_B: torch.Tensor) -> None:
    """ValueError where the shapes do not match. Label values are checked once, when the data are opened, not in each step."""
    if logits_BC.ndim != 2 or label_B.shape != logits_BC.shape[:1]:
        raise ValueError(f"need logits (B, C) and labels (B,); got {tuple(logits_BC.shape)} and {tuple(label_B.shape)}")
