import numpy as np
import pytest
import torch

from aird_plugin.data.degrade import arrive, shrink
from aird_plugin.data.faces import Batch
from aird_plugin.data.lowres import low_faces, resize_faces
from aird_plugin.data.plan import Plan
from aird_plugin.data.sizes import DrawnSizes, SizesConfig, bring, draw_px
from aird_plugin.models.head import HeadConfig


def test_sizes_are_whole_within_their_range_and_even_in_the_logarithm():
    px_N = draw_px(np.random.default_rng(0), (8, 64), 40_000)
    assert px_N.dtype == np.int64 and set(px_N) == set(range(8, 65))
    for first, last in ((8, 15), (16, 31), (32, 64)):
        share = np.log((last + 1) / first) / np.log(65 / 8)
        assert ((px_N >= first) & (px_N <= last)).mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp", "noise", "realworld"])
def test_each_face_is_shrunk_and_arrives_as_it_would_alone(noise_faces, degradation):
    faces, px_B = noise_faces(6), np.array([8, 33, 8, 112, 20, 64])
    seen = bring(torch.from_numpy(faces), px_B, 32, degradation).numpy()
    assert seen.shape == (6, 32, 32, 3) and seen.dtype == np.uint8
    for face, px, came in zip(faces, px_B, seen, strict=True):
        np.testing.assert_array_equal(arrive(shrink(face[None], int(px), degradation), 32, degradation)[0], came)
    if degradation == "bicubic":
        np.testing.assert_array_equal(seen[1], resize_faces(low_faces(faces[1:2], 33, grow=False), 32)[0])


class Source:
    """The same 112 px faces in every batch."""

    neighbours, resident = None, False

    def __init__(self, faces, rank=0):
        self.plan, self.faces = Plan(24, 2, len(faces), seed=3, rank=rank, world_size=2), faces

    def __getitem__(self, number):
        return Batch(torch.from_numpy(self.faces), torch.arange(len(self.faces)), high_BHWC=torch.from_numpy(self.faces))


def test_a_batch_depends_on_its_number_and_rank_alone(noise_faces):
    faces = noise_faces(6)
    sizes = [DrawnSizes(Source(faces, rank), (8, 64), 32, "bicubic") for rank in (0, 0, 1)]
    ahead = [sizes[0][n] for n in range(4)]
    for n in reversed(range(4)):
        again = sizes[1][n]
        assert torch.equal(again.px_B, ahead[n].px_B) and torch.equal(again.faces_BHWC, ahead[n].faces_BHWC)
        assert torch.equal(again.faces_BHWC, bring(torch.from_numpy(faces), again.px_B.numpy(), 32, "bicubic"))
        assert torch.equal(again.high_BHWC, torch.from_numpy(faces))
        assert not torch.equal(sizes[2][n].px_B, ahead[n].px_B)
    assert not torch.equal(ahead[0].px_B, ahead[1].px_B)


def test_parts_of_the_bank():
    assert SizesConfig().parts(16, "noise") == [(16, "noise")]
    assert SizesConfig(also_px=(8, 112)).parts(16, "noise") == [(16, "noise"), (8, "noise"), (112, "bicubic")]
    assert SizesConfig(px_range=(8, 64)).parts(16, "noise") == [(112, "bicubic")]


@pytest.mark.parametrize(("keys", "words"), [
    ({"also_px": (3,)}, "whole number from 4 to 112; got 3"),
    ({"also_px": ("8",)}, "got '8'"),
    ({"px_range": (8,)}, r"\(smallest, largest\), the first below the second; got \(8,\)"),
    ({"px_range": (64, 8)}, "the first below the second"),
    ({"px_range": (8, 113)}, "got 113"),
    ({"px_range": (8.5, 64)}, "got 8.5"),
    ({"px_range": (8, 64), "also_px": (8,)}, "exclude each other"),
    ({"identity_also": True}, "also_px, which has none"),
    ({"margin_small": 0.1}, "set px_range"),
    ({"faces_per_person": 0}, "1 or more; got 0"),
])  # fmt: skip
def test_keys_that_do_not_fit_are_told(keys, words):
    with pytest.raises(ValueError, match=words):
        SizesConfig(**keys)


@pytest.mark.parametrize(("keys", "head", "words"), [
    ({"px_range": (8, 64), "margin_small": 0.1}, {"margin": "a:B"}, "margin_small=0.1 bends the combined margin; margin='a:B'"),
    ({"also_px": (8,), "identity_also": True}, {"head_adaptive": True}, "would move the class centres again"),
])  # fmt: skip
def test_keys_of_the_head_that_leave_no_room_are_told(keys, head, words):
    with pytest.raises(ValueError, match=words):
        SizesConfig(**keys).check_against(16, HeadConfig(**head))


@pytest.mark.parametrize("also", [(16,), (8, 8)])
def test_a_size_named_twice_is_told(also):
    SizesConfig(also_px=(8, 12)).check_against(16, HeadConfig())
    with pytest.raises(ValueError, match="beside px=16 names a size twice"):
        SizesConfig(also_px=also).check_against(16, HeadConfig())


def test_a_batch_moves_with_all_its_sizes():
    batch = Batch(torch.zeros(2, 4, 4, 3), torch.arange(2), also_PBSSC=(torch.ones(2, 8, 8, 3),), px_B=torch.tensor([8, 9]))
    moved = batch.to(torch.device("meta"))
    assert [tensor.device.type for tensor in (moved.faces_BHWC, *moved.also_PBSSC, moved.px_B)] == ["meta"] * 3
    assert moved.also_PBSSC[0].shape == (2, 8, 8, 3)
