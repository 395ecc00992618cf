"""Multi-size training: the same images at further sizes in one step, or a size drawn per image for one multi-size model.

A mixture of degradations (data/mixture.py) is drawn per image in the same way, with sizes of px_range or all of one px.

B = images on this rank, S = side in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin.data.batch import Batch
from aird_plugin.data.batched.degrade import degrade_each
from aird_plugin.data.batches import BankFaces
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, downsample, resize_to_network
from aird_plugin.data.lowres import check_px
from aird_plugin.data.mixture import draw_degradations, is_mixture, is_weight
from aird_plugin.data.online_batches import OnlineFaces
from aird_plugin.data.sampler import DEGRADATION, SIZES


@dataclass(frozen=True)
class SizesConfig:
    """Recipe keys for several sizes in one run.

    also_px: further sizes of each image of a step, in the same view; 112 is the untouched image. The student processes all sizes
    in one forward pass, so its BatchNorm statistics cover the mixture. identity_also: the identity loss is the mean over all
    these sizes, instead of the loss at `px`. Other terms may use them (`inputs.also_PBD`).
    px_range: (smallest, largest), both included; each image's size is drawn log-uniformly from it, and `px` is only the size of
    the run's verification. The images come from an image cache of 112 px: 19 KB per view and image on disk.
    px_weights: (), or two or more weights above 0: px_range is cut into as many parts of equal width in log px, and an image's
    size is from a part with probability weight / sum of weights, log-uniform within it. () draws from all sizes alike. With
    px_range=(8, 64), (2, 1, 1) draws half of the sizes from 8 to 15 px, a quarter from 16 to 31 and a quarter from 32 to 64.
    untouched: share of the images that stay untouched 112 px images beside those of px_range, at least 0 and below 1.
    margin_small: None, or the angular margin at the smallest size of px_range; margin_list holds that at the largest, and the
    margin is linear in log px between them. This is MagFace's margin (arXiv 2103.06627), linear in an image's quality, with the
    known size in place of the feature norm. Untouched images have that of the largest size.
    faces_per_person: images of an identity per batch, if the identity has as many; 1 samples without regard to identity.
    """

    also_px: tuple = ()
    identity_also: bool = False
    px_range: tuple = ()
    px_weights: tuple = ()
    untouched: float = 0.0
    margin_small: float | None = None
    faces_per_person: int = 1

    def __post_init__(self):
        for px in (*self.also_px, *self.px_range):
            check_px(px)
        if self.px_range and (len(self.px_range) != 2 or self.px_range[0] >= self.px_range[1]):
            raise ValueError(f"px_range is (smallest, largest) with smallest < largest; got {self.px_range!r}")
        if self.px_weights and not self.px_range:
            raise ValueError(f"px_weights={self.px_weights!r} weighs parts of px_range; set px_range")
        if len(self.px_weights) == 1 or not all(is_weight(weight) for weight in self.px_weights):
            raise ValueError(f"px_weights are two or more weights, finite numbers above 0, or (); got {self.px_weights!r}")
        if self.also_px and self.px_range:
            raise ValueError(f"also_px={self.also_px!r} and px_range={self.px_range!r} exclude each other; leave one of them ()")
        if self.identity_also and not self.also_px:
            raise ValueError("identity_also=True needs sizes in also_px, which is empty")
        if self.margin_small is not None and not self.px_range:
            raise ValueError(f"margin_small={self.margin_small!r} is the margin of px_range's smallest size; set px_range")
        if self.margin_small is not None and not 0 <= self.margin_small <= math.pi / 2:
            raise ValueError(f"margin_small must be an angle in radians, 0 to pi / 2 = 1.5708; got {self.margin_small!r}")
        if not 0 <= self.untouched < 1:
            raise ValueError(f"untouched is a share of the images, 0 or more and below 1; got {self.untouched!r}")
        if self.untouched and not self.px_range:
            raise ValueError(f"untouched={self.untouched!r} is a share beside the sizes of px_range; set px_range")
        if self.faces_per_person < 1:
            raise ValueError(f"faces_per_person must be 1 or more; got {self.faces_per_person!r}")

    def check_against(self, px: int, head: Any, degradation: str | dict = BICUBIC) -> None:
        """Raise ValueError if a size occurs twice, or if keys of the head (`HeadConfig`) or a mixture conflict with these."""
        if self.also_px and is_mixture(degradation):
            raise ValueError(f"also_px={self.also_px!r} needs one degradation; a mixture is drawn per image: set also_px=()")
        if self.margin_small is not None and head.margin is not None:
            raise ValueError(
                f"margin_small={self.margin_small!r} scales the combined margin; it does not apply to margin={head.margin!r}"
            )
        if self.identity_also and head.centers == "adaptive":
            raise ValueError(
                "identity_also=True would update adaptive class centers once per size; set centers='trained' or 'frozen'"
            )
        if len({px, *self.also_px}) <= len(self.also_px):
            raise ValueError(f"also_px={self.also_px!r} with px={px} contains a size twice")

    def drawn_range(self, px: int, degradation: str | dict) -> tuple:
        """(smallest, largest) px of images that are degraded in the step: px_range, (px, px) for a mixture of one px, else ()."""
        return self.px_range or ((px, px) if is_mixture(degradation) else ())

    def parts(self, px: int, degradation: str | dict) -> list[tuple[int, str]]:
        """List (px, degradation) of every image cache that the run reads, the main one first."""
        if isinstance(degradation, dict) or self.px_range:
            return [(FACE_SIDE, BICUBIC)]
        return [(side, BICUBIC if side == FACE_SIDE else degradation) for side in (px, *self.also_px)]


def draw_px(rng: np.random.Generator, px_range: tuple[int, int], count: int, px_weights: Sequence[float] = ()) -> np.ndarray:
    """Draw whole numbers from smallest to largest, both included, log-uniformly in each part of the range. int64 (count,)

    px_weights: of the parts, each as wide as the others in log px; () is one part.
    """
    smallest, largest = px_range
    position_N = rng.random(count)
    if px_weights:
        # The inverse of the distribution function, piecewise linear; divided by the largest first, so that the sum stays finite.
        weight_P = np.array(px_weights, dtype=np.float64) / max(px_weights)
        bounds_P1 = np.concatenate(([0.0], np.cumsum(weight_P) / weight_P.sum()))
        position_N = np.interp(position_N, bounds_P1, np.linspace(0, 1, len(bounds_P1)))
    first, last = np.log(smallest), np.log(largest + 1)
    return np.floor(np.exp(first + (last - first) * position_N)).astype(np.int64).clip(smallest, largest)


def resize_each(
    hr_BHWC: torch.Tensor, px_B: np.ndarray, side: int, degradation: str | Sequence[str], seed: int = 0
) -> torch.Tensor:
    """Degrade each 112 px image to its own px, then resize it to the student's input. uint8 (B, side, side, 3).

    degradation: one for all images, or one for each. seed: of the draws on a GPU; on a CPU they depend on the images alone.
    On a CPU the one-image forms do it: Pillow's C code is up to four times as fast there as the batched forms, which are matrix
    products and gathers and serve GPUs.
    """
    names = [degradation] * len(hr_BHWC) if isinstance(degradation, str) else list(degradation)
    if hr_BHWC.device.type != "cpu":
        return degrade_each(hr_BHWC, px_B, names, side, seed)
    resized_BSSC = hr_BHWC.new_empty((len(hr_BHWC), side, side, 3))
    for resized_SSC, hr_HWC, px, name in zip(resized_BSSC.numpy(), hr_BHWC.numpy(), px_B.tolist(), names, strict=True):
        resized_SSC[:] = resize_to_network(downsample(hr_HWC[None], px, name), side, name)[0]
    return resized_BSSC


@dataclass(frozen=True)
class DrawnResize:
    """The draws of one batch, and their application to its 112 px images on any device. side: of the student's input."""

    px_B: np.ndarray
    degradations: list[str]
    side: int
    seed: int

    def __call__(self, hr_BHWC: torch.Tensor) -> torch.Tensor:
        return resize_each(hr_BHWC, self.px_B, self.side, self.degradations, self.seed)


class DrawnSizes(Dataset):
    """Batches with a size, and with a mixture a degradation, drawn per image; resized to the student's input.

    source: yields 112 px images, mirrored in odd views; degradations that do not commute with the flip (noise, JPEG blocks) are
    thus applied to the mirrored image. The draws are a function of the sampler's seed and rank and of the batch's number.
    degradation: a name or a mixture. px_weights: of the parts of px_range (`SizesConfig`).
    on_training_device: whether to leave the work to it, as `Batch.resize`.
    """

    def __init__(
        self,
        source: BankFaces | OnlineFaces,
        px_range: tuple[int, int],
        side: int,
        degradation: str | dict,
        untouched: float = 0.0,
        on_training_device: bool = False,
        px_weights: tuple = (),
    ):
        self.source, self.sampler, self.neighbours, self.on_device = source, source.sampler, source.neighbours, source.on_device
        self.px_range, self.side, self.degradation, self.untouched = px_range, side, degradation, untouched
        self.on_training_device, self.px_weights = on_training_device, px_weights

    def __getitem__(self, number: int) -> Batch:
        batch, draw = self.source[number], self.draw(number)
        batch = replace(batch, px_B=torch.from_numpy(draw.px_B))
        if self.on_training_device:
            return replace(batch, resize=draw)
        return replace(batch, images_BHWC=draw(batch.images_BHWC))

    def draw(self, number: int) -> DrawnResize:
        """The draws of batch `number`. Sizes and degradations have streams of their own, so a mixture changes no size."""
        sampler, count = self.sampler, self.sampler.batch_size
        size_rng = np.random.default_rng((sampler.seed, SIZES, number, sampler.rank))
        px_B = draw_px(size_rng, self.px_range, count, self.px_weights)
        rng = np.random.default_rng((sampler.seed, DEGRADATION, number, sampler.rank))
        seed, untouched_B = int(rng.integers(1 << 62)), rng.random(count) < self.untouched
        px_B[untouched_B] = FACE_SIDE
        return DrawnResize(px_B, draw_degradations(rng, self.degradation, count), self.side, seed)
