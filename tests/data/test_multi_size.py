import numpy as np
import pytest
import torch

from aird_plugin.data import multi_size
from aird_plugin.data.batch import Batch
from aird_plugin.data.degradation import downsample, resize_to_network
from aird_plugin.data.lowres import low_faces, resize_faces
from aird_plugin.data.multi_size import DrawnSizes, SizesConfig, draw_px, resize_each
from aird_plugin.data.sampler import BatchSampler
from aird_plugin.models.head import HeadConfig


def test_sizes_are_log_uniform_in_their_range():
    px_N = draw_px(np.random.default_rng(0), (8, 64), 40_000)
    assert px_N.dtype == np.int64 and set(px_N) == set(range(8, 65))
    for first, last in ((8, 15), (16, 31), (32, 64)):
        share = np.log((last + 1) / first) / np.log(65 / 8)
        assert ((px_N >= first) & (px_N <= last)).mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("scale", [1.0, 8e307])
def test_parts_of_the_range_are_drawn_by_their_weights(scale):
    px_N = draw_px(np.random.default_rng(0), (8, 64), 40_000, (2 * scale, 0.5 * scale, 1 * scale))
    for first, last, weight in ((8, 15, 2), (16, 31, 0.5), (32, 64, 1)):
        share = ((px_N >= first) & (px_N <= last)).mean()
        assert share == pytest.approx(weight / 3.5, abs=0.012)
    small = px_N[px_N <= 15]
    assert (small <= 11).mean() == pytest.approx(np.log(12 / 8) / np.log(65 / 8) * 3, abs=0.012)


def test_equal_weights_change_no_size():
    plain_N = draw_px(np.random.default_rng(1), (8, 64), 5_000)
    assert (draw_px(np.random.default_rng(1), (8, 64), 5_000, (2, 2)) == plain_N).all()


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp", "noise", "realworld"])
def test_each_image_is_resized_as_if_alone(noise_faces, degradation):
    images, px_B = noise_faces(6), np.array([8, 33, 8, 112, 20, 64])
    resized = resize_each(torch.from_numpy(images), px_B, 32, degradation).numpy()
    assert resized.shape == (6, 32, 32, 3) and resized.dtype == np.uint8
    for image, px, actual in zip(images, px_B, resized, strict=True):
        expected = resize_to_network(downsample(image[None], int(px), degradation), 32, degradation)[0]
        np.testing.assert_array_equal(expected, actual)
    if degradation == "bicubic":
        np.testing.assert_array_equal(resized[1], resize_faces(low_faces(images[1:2], 33, grow=False), 32)[0])


class Source:
    """The same 112 px images in every batch."""

    neighbours, on_device = None, False

    def __init__(self, images, rank=0):
        self.sampler, self.images = BatchSampler(24, 2, len(images), seed=3, rank=rank, world_size=2), images

    def __getitem__(self, number):
        return Batch(torch.from_numpy(self.images), torch.arange(len(self.images)), hr_BHWC=torch.from_numpy(self.images))


def test_a_batch_depends_only_on_its_number_and_rank(noise_faces):
    images = noise_faces(6)
    sizes = [DrawnSizes(Source(images, rank), (8, 64), 32, "bicubic") for rank in (0, 0, 1)]
    forward = [sizes[0][n] for n in range(4)]
    for n in reversed(range(4)):
        again = sizes[1][n]
        assert torch.equal(again.px_B, forward[n].px_B) and torch.equal(again.images_BHWC, forward[n].images_BHWC)
        assert torch.equal(again.images_BHWC, resize_each(torch.from_numpy(images), again.px_B.numpy(), 32, "bicubic"))
        assert torch.equal(again.hr_BHWC, torch.from_numpy(images))
        assert not torch.equal(sizes[2][n].px_B, forward[n].px_B)
    assert not torch.equal(forward[0].px_B, forward[1].px_B)


def test_a_batch_draws_by_the_weights(noise_faces):
    plain, weighted = (DrawnSizes(Source(noise_faces(6)), (8, 64), 16, "bicubic", px_weights=w) for w in ((), (100, 1)))
    plain_px, weighted_px = (np.concatenate([sizes.draw(n).px_B for n in range(40)]) for sizes in (plain, weighted))
    assert (weighted_px <= 23).mean() > 0.95 > 0.6 > (plain_px <= 23).mean()


MIXTURE = {"bicubic": 1, "noise": 2, "realworld": 1}


def test_drawn_sizes_are_those_of_runs_before_mixtures(noise_faces):
    """Recorded before the key `untouched` and mixtures existed; neither may change the sizes of a resumed run."""
    source = Source(noise_faces(6))
    expected = {0: [8, 37, 43, 10, 8, 8], 7: [29, 15, 52, 16, 13, 50]}
    for degradation in ("bicubic", "noise", MIXTURE):
        sizes = DrawnSizes(source, (8, 64), 16, degradation)
        assert {number: sizes[number].px_B.tolist() for number in expected} == expected


def test_a_mixture_is_drawn_per_image_and_batch(noise_faces):
    images = noise_faces(6)
    sizes, again = (DrawnSizes(Source(images), (8, 64), 16, MIXTURE) for _ in range(2))
    other_rank = DrawnSizes(Source(images, rank=1), (8, 64), 16, MIXTURE)
    drawn = [name for number in range(100) for name in sizes.draw(number).degradations]
    # Five standard deviations of a share of 600 draws are 0.1.
    assert drawn.count("noise") / 600 == pytest.approx(0.5, abs=0.1) and set(drawn) == set(MIXTURE)
    assert drawn != [name for number in range(100) for name in other_rank.draw(number).degradations]
    for number in (3, 0):
        batch, draw = sizes[number], again.draw(number)
        assert torch.equal(batch.images_BHWC, again[number].images_BHWC)
        for image, px, name, actual in zip(images, draw.px_B, draw.degradations, batch.images_BHWC.numpy(), strict=True):
            expected = resize_to_network(downsample(image[None], int(px), name), 16, name)[0]
            np.testing.assert_array_equal(actual, expected)


def test_a_share_of_the_images_stays_untouched(noise_faces):
    images = noise_faces(6)
    without, untouched = (DrawnSizes(Source(images), (8, 64), 16, "noise", share) for share in (0.0, 0.3))
    before, after = (np.stack([sizes.draw(number).px_B for number in range(100)]) for sizes in (without, untouched))
    # Five standard deviations of a share of 600 draws are 0.1.
    assert (after == 112).mean() == pytest.approx(0.3, abs=0.1) and before.max() <= 64
    np.testing.assert_array_equal(after[after != 112], before[after != 112])
    batch = untouched[0]
    for image, px, actual in zip(images, batch.px_B, batch.images_BHWC.numpy(), strict=True):
        if px == 112:
            np.testing.assert_array_equal(actual, resize_faces(image[None], 16)[0])


def test_a_mixture_of_one_px(noise_faces):
    sizes = SizesConfig()
    assert sizes.drawn_range(16, MIXTURE) == (16, 16) and sizes.drawn_range(16, "noise") == ()
    assert SizesConfig(px_range=(8, 64)).drawn_range(16, MIXTURE) == (8, 64)
    assert sizes.parts(16, MIXTURE) == SizesConfig(px_range=(8, 64)).parts(16, MIXTURE) == [(112, "bicubic")]
    assert set(DrawnSizes(Source(noise_faces(6)), (16, 16), 16, MIXTURE)[0].px_B.tolist()) == {16}
    with pytest.raises(ValueError, match=r"also_px=\(8,\) needs one degradation"):
        SizesConfig(also_px=(8,)).check_against(16, HeadConfig(), MIXTURE)


def test_the_training_device_gets_the_draws_instead_of_the_images(noise_faces):
    images = noise_faces(6)
    here, there = (DrawnSizes(Source(images), (8, 64), 16, MIXTURE, 0.3, leaves) for leaves in (False, True))
    batch = there[2].to(torch.device("cpu"))
    assert torch.equal(batch.images_BHWC, torch.from_numpy(images)) and torch.equal(batch.px_B, here[2].px_B)
    assert torch.equal(batch.resize(batch.images_BHWC), here[2].images_BHWC) and here[2].resize is None


def test_a_gpu_runs_the_batched_forms_with_the_seed_of_the_batch(noise_faces, monkeypatch):
    calls = []
    monkeypatch.setattr(multi_size, "degrade_each", lambda *arguments: calls.append(arguments))
    draw = DrawnSizes(Source(noise_faces(6)), (8, 64), 16, MIXTURE).draw(4)
    images = torch.empty(6, 112, 112, 3, dtype=torch.uint8, device="meta")
    draw(images)
    assert calls == [(images, draw.px_B, draw.degradations, 16, draw.seed)]


def test_image_caches_of_the_bank():
    assert SizesConfig().parts(16, "noise") == [(16, "noise")]
    assert SizesConfig(also_px=(8, 112)).parts(16, "noise") == [(16, "noise"), (8, "noise"), (112, "bicubic")]
    assert SizesConfig(px_range=(8, 64)).parts(16, "noise") == [(112, "bicubic")]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"also_px": (3,)}, "whole number from 4 to 112; got 3"),
        ({"also_px": ("8",)}, "got '8'"),
        ({"px_range": (8,)}, r"\(smallest, largest\) with smallest < largest; got \(8,\)"),
        ({"px_range": (64, 8)}, "with smallest < largest"),
        ({"px_range": (8, 113)}, "got 113"),
        ({"px_range": (8.5, 64)}, "got 8.5"),
        ({"px_range": (8, 64), "also_px": (8,)}, "exclude each other"),
        ({"identity_also": True}, "also_px, which is empty"),
        ({"margin_small": 0.1}, "set px_range"),
        ({"untouched": 0.1}, "untouched=0.1 is a share beside the sizes of px_range; set px_range"),
        ({"px_range": (8, 64), "untouched": 1.0}, "below 1; got 1.0"),
        ({"px_range": (8, 64), "untouched": -0.1}, "got -0.1"),
        ({"px_range": (8, 64), "untouched": float("nan")}, "got nan"),
        ({"px_weights": (1, 2)}, r"px_weights=\(1, 2\) weighs parts of px_range; set px_range"),
        ({"px_range": (8, 64), "px_weights": (1, 0)}, r"numbers above 0, .* got \(1, 0\)"),
        ({"px_range": (8, 64), "px_weights": (2,)}, r"two or more weights, .* got \(2,\)"),
        ({"px_range": (8, 64), "px_weights": (1, float("inf"))}, "got .*inf"),
        ({"px_range": (8, 64), "px_weights": ("1",)}, "got .*'1'"),
        ({"faces_per_person": 0}, "1 or more; got 0"),
    ],
)
def test_invalid_keys_are_rejected(keys, words):
    with pytest.raises(ValueError, match=words):
        SizesConfig(**keys)


@pytest.mark.parametrize(
    ("keys", "head", "words"),
    [
        (
            {"px_range": (8, 64), "margin_small": 0.1},
            {"margin": "a:B"},
            "margin_small=0.1 scales the combined margin; it does not apply to margin='a:B'",
        ),
        ({"also_px": (8,), "identity_also": True}, {"centers": "adaptive"}, "would update adaptive class centers once per size"),
    ],
)
def test_conflicting_keys_of_the_head_are_rejected(keys, head, words):
    with pytest.raises(ValueError, match=words):
        SizesConfig(**keys).check_against(16, HeadConfig(**head))


@pytest.mark.parametrize("also", [(16,), (8, 8)])
def test_a_repeated_size_is_rejected(also):
    SizesConfig(also_px=(8, 12)).check_against(16, HeadConfig())
    with pytest.raises(ValueError, match="with px=16 contains a size twice"):
        SizesConfig(also_px=also).check_against(16, HeadConfig())


def test_moving_a_batch_moves_all_its_sizes():
    batch = Batch(torch.zeros(2, 4, 4, 3), torch.arange(2), also_PBSSC=(torch.ones(2, 8, 8, 3),), px_B=torch.tensor([8, 9]))
    moved = batch.to(torch.device("meta"))
    assert [tensor.device.type for tensor in (moved.images_BHWC, *moved.also_PBSSC, moved.px_B)] == ["meta"] * 3
    assert moved.also_PBSSC[0].shape == (2, 8, 8, 3)
