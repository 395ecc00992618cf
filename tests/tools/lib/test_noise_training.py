"""Class centers of length 1 in blocks, and batches that differ between ranks."""

import numpy as np
import torch

from tools.lib import noise_training
from tools.lib.noise_training import noise_batches, write_centers


def test_centers_have_length_one_in_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr(noise_training, "ROWS_AT_ONCE", 3)
    write_centers(tmp_path / "centers.npy", 8, 5)
    centers_CD = np.load(tmp_path / "centers.npy")
    assert centers_CD.shape == (8, 5) and centers_CD.dtype == np.float32 and len(np.unique(centers_CD, axis=0)) == 8
    # A length of 5 squares in float32: each rounding is at most 2**-24 of it.
    np.testing.assert_allclose(np.linalg.norm(centers_CD, axis=1), 1, atol=10 * 2**-24)


def test_batches_differ_by_step_and_rank_and_repeat_by_seed(monkeypatch):
    def first_two(rank: int) -> list[torch.Tensor]:
        monkeypatch.setattr(noise_training.distributed, "rank", lambda: rank)
        batches = noise_batches(classes=7, batch=4, width=3)
        return [next(batches).images_BHWC for _ in range(2)]

    (own, later), (other, _), (again, _) = first_two(0), first_two(1), first_two(0)
    assert own.shape == (4, 16, 16, 3) and torch.equal(own, again)
    assert not torch.equal(own, later) and not torch.equal(own, other)
