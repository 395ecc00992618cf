"""Multi-size training: the same images at further sizes in one step, or a size drawn per image for one multi-size model.

B = images on this rank, S = side in pixels.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin.data.batches import BankFaces, Batch, OnlineFaces
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, downsample_torch, resize_to_network_torch
from aird_plugin.data.lowres import check_px
from aird_plugin.data.sampler import SIZES


@dataclass(frozen=True)
class SizesConfig:
    """Recipe keys for several sizes in one run.

    also_px: further sizes of each image of a step, in the same view; 112 is the untouched image. The student processes all sizes
    in one forward pass, so its BatchNorm statistics cover the mixture. identity_also: the identity loss is the mean over all
    these sizes, instead of the loss at `px`. Other terms may use them (`inputs.also_PBD`).
    px_range: (smallest, largest), both included; each image's size is drawn log-uniformly from it, and `px` is only the size of
    the run's verification. The images come from an image cache of 112 px: 19 KB per view and image on disk.
    margin_small: None, or the angular margin at the smallest size of px_range; margin_list holds that at the largest, and the
    margin is linear in log px between them. This is MagFace's margin (arXiv 2103.06627), linear in an image's quality, with the
    known size in place of the feature norm.
    faces_per_person: images of an identity per batch, if the identity has as many; 1 samples without regard to identity.
    """

    also_px: tuple = ()
    identity_also: bool = False
    px_range: tuple = ()
    margin_small: float | None = None
    faces_per_person: int = 1

    def __post_init__(self):
        for px in (*self.also_px, *self.px_range):
            check_px(px)
        if self.px_range and (len(self.px_range) != 2 or self.px_range[0] >= self.px_range[1]):
            raise ValueError(f"px_range is (smallest, largest) with smallest < largest; got {self.px_range!r}")
        if self.also_px and self.px_range:
            raise ValueError(f"also_px={self.also_px!r} and px_range={self.px_range!r} exclude each other; leave one of them ()")
        if self.identity_also and not self.also_px:
            raise ValueError("identity_also=True needs sizes in also_px, which is empty")
        if self.margin_small is not None and not self.px_range:
            raise ValueError(f"margin_small={self.margin_small!r} is the margin of px_range's smallest size; set px_range")
        if self.faces_per_person < 1:
            raise ValueError(f"faces_per_person must be 1 or more; got {self.faces_per_person!r}")

    def check_against(self, px: int, head: Any) -> None:
        """Raise ValueError if a size occurs twice, or if keys of the head (`HeadConfig`) conflict with these."""
        if self.margin_small is not None and head.margin is not None:
            raise ValueError(
                f"margin_small={self.margin_small!r} scales the combined margin; it does not apply to margin={head.margin!r}"
            )
        if self.identity_also and head.head_adaptive:
            raise ValueError("identity_also=True would update the class centers once per size; set head_adaptive=False")
        if len({px, *self.also_px}) <= len(self.also_px):
            raise ValueError(f"also_px={self.also_px!r} with px={px} contains a size twice")

    def parts(self, px: int, degradation: str) -> list[tuple[int, str]]:
        """List (px, degradation) of every image cache that the run reads, the main one first."""
        if self.px_range:
            return [(FACE_SIDE, BICUBIC)]
        return [(side, BICUBIC if side == FACE_SIDE else degradation) for side in (px, *self.also_px)]


def draw_px(rng: np.random.Generator, px_range: tuple[int, int], count: int) -> np.ndarray:
    """Draw whole numbers log-uniformly from smallest to largest, both included. int64 (count,)"""
    smallest, largest = px_range
    return np.floor(np.exp(rng.uniform(np.log(smallest), np.log(largest + 1), count))).astype(np.int64).clip(smallest, largest)


def resize_each(hr_BHWC: torch.Tensor, px_B: np.ndarray, side: int, degradation: str) -> torch.Tensor:
    """Downsample each 112 px image to its own px, then resize it to the student's input. uint8 (B, side, side, 3)."""
    resized_BSSC = hr_BHWC.new_empty((len(hr_BHWC), side, side, 3))
    for px in np.unique(px_B):
        index_X = torch.from_numpy(np.flatnonzero(px_B == px)).to(hr_BHWC.device)
        small_XSSC = downsample_torch(hr_BHWC[index_X], int(px), degradation)
        resized_BSSC[index_X] = resize_to_network_torch(small_XSSC, side, degradation)
    return resized_BSSC


class DrawnSizes(Dataset):
    """Batches with a size drawn per image, resized to the student's input.

    source: yields 112 px images, mirrored in odd views; degradations that do not commute with the flip (noise, JPEG blocks) are
    thus applied to the mirrored image. The sizes are a function of the sampler's seed and rank and of the batch's number.
    """

    def __init__(self, source: BankFaces | OnlineFaces, px_range: tuple[int, int], side: int, degradation: str):
        self.source, self.sampler, self.neighbours, self.on_device = source, source.sampler, source.neighbours, source.on_device
        self.px_range, self.side, self.degradation = px_range, side, degradation

    def __getitem__(self, number: int) -> Batch:
        batch, sampler = self.source[number], self.sampler
        px_B = draw_px(np.random.default_rng((sampler.seed, SIZES, number, sampler.rank)), self.px_range, sampler.batch_size)
        resized_BSSC = resize_each(batch.images_BHWC, px_B, self.side, self.degradation)
        return replace(batch, images_BHWC=resized_BSSC, px_B=torch.from_numpy(px_B))
