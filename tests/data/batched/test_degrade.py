import itertools

import numpy as np
import pytest
import torch

from aird_plugin.data import realworld as rw
from aird_plugin.data.batched import realworld as batched
from aird_plugin.data.batched.degrade import degrade_each
from aird_plugin.data.batched.realworld import draw_plan, realworld_each
from aird_plugin.data.degradation import DEGRADATIONS, Degradation, downsample, resize_to_network
from aird_plugin.data.realworld import realworld

NAMES = list(DEGRADATIONS)


def one_by_one(images: np.ndarray, px_B, names, side: int) -> np.ndarray:
    rows = zip(images, px_B, names, strict=True)
    return np.concatenate([resize_to_network(downsample(image[None], int(px), name), side, name) for image, px, name in rows])


def assert_equal_forms(actual: torch.Tensor, expected: np.ndarray, names) -> None:
    """Bit for bit; the warp's ties may round otherwise."""
    difference = np.abs(actual.numpy().astype(int) - expected)
    for name, one in zip(names, difference, strict=True):
        assert one.max() <= (1 if name == "insightface-warp" else 0), name


@pytest.mark.parametrize("side", [16, 112])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_equals_the_one_image_form(hard_images, name, side):
    px_B = np.append(np.random.default_rng(side).integers(4, 113, 20), [4, 5, 111, 112])
    degraded = degrade_each(torch.from_numpy(hard_images), px_B, [name] * 24, side)
    assert degraded.dtype == torch.uint8 and degraded.shape == (24, side, side, 3)
    assert_equal_forms(degraded, one_by_one(hard_images, px_B, [name] * 24, side), [name] * 24)


@pytest.mark.parametrize("count", [0, 1, 24])
def test_a_mixture_equals_each_of_its_images_alone(hard_images, count):
    rng = np.random.default_rng(0)
    px_B, names = rng.integers(8, 113, count), [NAMES[index] for index in rng.integers(0, len(NAMES), count)]
    # A transposed view: the images need not be contiguous.
    images = np.ascontiguousarray(hard_images[:count].transpose(0, 2, 1, 3))
    degraded = degrade_each(torch.from_numpy(images).transpose(1, 2), px_B, names, 24)
    assert degraded.shape == (count, 24, 24, 3)
    if count:
        assert_equal_forms(degraded, one_by_one(hard_images[:count], px_B, names, 24), names)


@pytest.mark.parametrize("px", [8, 37])
def test_every_order_of_the_four_steps_equals_the_one_image_form(drawn_faces, px):
    """Perturbed copies of drawn faces until all 24 orders have occurred."""
    rng = np.random.default_rng(px)
    chosen = {}
    while len(chosen) < 24:
        image = drawn_faces[rng.integers(6)].copy()
        image[rng.integers(112), rng.integers(112)] = rng.integers(0, 256, 3)
        chosen.setdefault(tuple(draw_plan(rw.image_rng(image, px), px).order.tolist()), image)
    assert set(chosen) == set(itertools.permutations(range(4)))
    images = np.stack(list(chosen.values()))
    small = realworld_each(torch.from_numpy(images), np.full(24, px), None).numpy()
    np.testing.assert_array_equal(small, realworld(images, px))


def test_a_degradation_without_a_batched_form_runs_image_by_image(hard_images, monkeypatch):
    def inverted(images_NHWC: np.ndarray, px: int) -> np.ndarray:
        return 255 - downsample(images_NHWC, px)

    monkeypatch.setitem(DEGRADATIONS, "inverted", Degradation(inverted))
    px_B, names = np.arange(10, 34), ["inverted", "bicubic"] * 12
    degraded = degrade_each(torch.from_numpy(hard_images), px_B, names, 16, 7)
    assert_equal_forms(degraded, one_by_one(hard_images, px_B, names, 16), names)


def test_with_a_seed_the_draws_depend_on_it_and_not_on_the_images(hard_images):
    flat, px_B = torch.full((24, 112, 112, 3), 120, dtype=torch.uint8), np.full(24, 64)
    for name in ("noise", "realworld"):
        first, again, other = (degrade_each(flat, px_B, [name] * 24, 64, seed) for seed in (5, 5, 6))
        assert torch.equal(first, again) and not torch.equal(first, other)
        assert len({image.numpy().tobytes() for image in first}) == 24
    noise = degrade_each(flat, px_B, ["noise"] * 24, 64, 5).float() - 120
    # 294,912 samples of standard deviation 8: five standard errors of the mean are 0.07, of the deviation 0.05 and 1/12 / 16.
    assert abs(noise.mean()) < 0.07 and abs(noise.std() - 8) < 0.06


def test_parameters_of_realworld_depend_on_the_seed(monkeypatch):
    drawn = []
    monkeypatch.setattr(batched, "draw_plan", lambda *arguments, **keys: drawn.append(draw_plan(*arguments, **keys)) or drawn[-1])
    for seed in (5, 5, 6):
        realworld_each(torch.zeros(4, 112, 112, 3, dtype=torch.uint8), np.full(4, 8), seed)
    sigmas = np.array([plan.blur.sigma for plan in drawn]).reshape(3, 4)
    assert (sigmas[0] == sigmas[1]).all() and (sigmas[0] != sigmas[2]).all() and len(set(sigmas[0])) == 4


def test_with_a_seed_realworld_has_the_same_distribution():
    """The deviation that noise leaves in flat images: quartiles of 600 draws of either kind, each uncertain by about 6%."""
    flat = np.stack([np.full((112, 112, 3), 100, np.uint8)] * 600)
    flat[:, 0, 0] = np.arange(600)[:, None] % 256
    flat[:, 0, 1] = np.arange(600)[:, None] // 256
    own = realworld(flat, 16)[:, 2:].std(axis=(1, 2, 3))
    seeded = realworld_each(torch.from_numpy(flat), np.full(600, 16), 3).numpy()[:, 2:].std(axis=(1, 2, 3))
    for share in (0.25, 0.5, 0.75):
        assert np.quantile(seeded, share) == pytest.approx(np.quantile(own, share), rel=0.25)


@pytest.mark.parametrize(
    ("images", "px_B", "names", "words"),
    [
        (torch.zeros(2, 16, 16, 3, dtype=torch.uint8), [8, 8], ["bicubic"] * 2, "takes 112 px images.*16, 16"),
        (torch.zeros(2, 112, 112, 3), [8, 8], ["bicubic"] * 2, "uint8"),
        (torch.zeros(2, 112, 112, 3, dtype=torch.uint8), [8], ["bicubic"] * 2, "1 px and 2 degradations"),
        (torch.zeros(2, 112, 112, 3, dtype=torch.uint8), [8, 3], ["bicubic"] * 2, "from 4 to 112; got 3"),
        (torch.zeros(2, 112, 112, 3, dtype=torch.uint8), [8, 112], ["bicubic", "fog"], "got 'fog'"),
    ],
)
def test_invalid_arguments_are_rejected(images, px_B, names, words):
    with pytest.raises(ValueError, match=words):
        degrade_each(images, np.array(px_B), names, 16)
