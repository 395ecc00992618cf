"""Sizes in bytes, and the bytes that collectives send per rank."""

import pytest
import torch

from tests.ranks import on_ranks
from tools.lib import traffic


def test_bytes_of_tensors_and_weights():
    assert traffic.nbytes(torch.zeros(3, 5, dtype=torch.float16)) == 30
    assert traffic.weight_bytes(torch.nn.Linear(4, 2)) == (4 * 2 + 2) * 4


@pytest.mark.parametrize(("ranks", "reduced", "gathered"), [(1, 0, 0), (2, 100, 100), (4, 150, 300)])
def test_ring_sends_the_textbook_share(monkeypatch, ranks, reduced, gathered):
    """All-reduce: every rank sends R - 1 of R parts twice. All-gather: every rank passes on its own part and R - 2 others."""
    monkeypatch.setattr(traffic.distributed, "world_size", lambda: ranks)
    assert traffic.ring_bytes(100, reduced=True) == reduced and traffic.ring_bytes(100, reduced=False) == gathered


def count_both() -> dict:
    """One all-reduce of 24 bytes and one all-gather of 8 bytes, inside the block and once more outside it."""
    before, found = torch.distributed.all_reduce, {}
    with traffic.count_bytes_sent(found):
        one_2 = torch.ones(2, dtype=torch.float32)
        torch.distributed.all_reduce(torch.ones(3, dtype=torch.float64))
        torch.distributed.all_gather([torch.empty(2, dtype=torch.float32) for _ in range(2)], one_2)
    assert torch.distributed.all_reduce is before
    torch.distributed.all_reduce(torch.ones(1000))
    return {"bytes_sent": torch.tensor(found["bytes_sent"])}


def test_only_collectives_inside_the_block_are_counted(tmp_path):
    assert [rank["bytes_sent"].item() for rank in on_ranks(count_both, tmp_path)] == [24 + 8] * 2
