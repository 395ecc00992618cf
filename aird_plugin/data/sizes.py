"""Several sizes: the same faces at further sizes in one step, and sizes drawn per face for one model of them all.

B = faces on this rank, S = side in pixels.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin.data.degrade import BICUBIC, arrive_torch, shrink_torch
from aird_plugin.data.faces import BankFaces, Batch, OnlineFaces
from aird_plugin.data.lowres import FACE_SIDE, check_px
from aird_plugin.data.plan import SIZES


@dataclass(frozen=True)
class SizesConfig:
    """Recipe keys of several sizes in one run.

    also_px: further sizes at which the student sees each face of a step, in the same view; 112 is the untouched face. All of them
    go through the student in one forward, so that its BatchNorms see the mixture. identity_also: the identity loss is the mean
    over all these sizes, not that of `px` alone. Other terms look at them as they like (`views.also_PBD`).
    px_range: two whole numbers; each face's size is then drawn from them, both included, evenly in its logarithm, and `px` is the
    size of the run's verification alone. Faces come from a bank part of 112 px faces: 19 KB a view and face on disk.
    margin_small: None, or the angular margin of the smallest size of px_range; margin_list has that of the largest, and between
    them it is linear in log px. That is MagFace's margin (arXiv 2103.06627), linear in a face's quality, with the size, which is
    known here, in the place of its feature norm.
    faces_per_person: faces of a person that a batch holds where the person has as many; 1 leaves it to chance.
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
            raise ValueError(f"px_range is (smallest, largest), the first below the second; got {self.px_range!r}")
        if self.also_px and self.px_range:
            raise ValueError(f"also_px={self.also_px!r} and px_range={self.px_range!r} exclude each other; leave one of them ()")
        if self.identity_also and not self.also_px:
            raise ValueError("identity_also=True speaks of the sizes in also_px, which has none")
        if self.margin_small is not None and not self.px_range:
            raise ValueError(f"margin_small={self.margin_small!r} is the margin of px_range's smallest size; set px_range")
        if self.faces_per_person < 1:
            raise ValueError(f"faces_per_person must be 1 or more; got {self.faces_per_person!r}")

    def check_against(self, px: int, head) -> None:
        """ValueError where a size would be seen twice, or the class centres' keys (`HeadConfig`) leave no room for ours."""
        if self.margin_small is not None and head.margin is not None:
            raise ValueError(f"margin_small={self.margin_small!r} bends the combined margin; margin={head.margin!r} is another")
        if self.identity_also and head.head_adaptive:
            raise ValueError("identity_also=True would move the class centres again for each size; leave head_adaptive False")
        if len({px, *self.also_px}) <= len(self.also_px):
            raise ValueError(f"also_px={self.also_px!r} beside px={px} names a size twice")

    def parts(self, px: int, degradation: str) -> list[tuple[int, str]]:
        """(px, degradation) of every half of low faces that the run reads, the main one first."""
        if self.px_range:
            return [(FACE_SIDE, BICUBIC)]
        return [(side, BICUBIC if side == FACE_SIDE else degradation) for side in (px, *self.also_px)]


def draw_px(rng: np.random.Generator, px_range: tuple[int, int], count: int) -> np.ndarray:
    """Whole numbers from smallest to largest, both included, even in their logarithm. int64 (count,)"""
    smallest, largest = px_range
    return np.floor(np.exp(rng.uniform(np.log(smallest), np.log(largest + 1), count))).astype(np.int64).clip(smallest, largest)


def bring(high_BHWC: torch.Tensor, px_B: np.ndarray, side: int, degradation: str) -> torch.Tensor:
    """112 px faces, each shrunk to its own px, as they arrive at the student, where they lie. uint8 (B, side, side, 3)."""
    seen_BSSC = high_BHWC.new_empty((len(high_BHWC), side, side, 3))
    for px in np.unique(px_B):
        here_X = torch.from_numpy(np.flatnonzero(px_B == px)).to(high_BHWC.device)
        small_XSSC = shrink_torch(high_BHWC[here_X], int(px), degradation)
        seen_BSSC[here_X] = arrive_torch(small_XSSC, side, degradation)
    return seen_BSSC


class DrawnSizes(Dataset):
    """Batches whose faces each have a size of their own and come as the student takes them.

    source: gives 112 px faces, mirrored where their view is; what does not commute with the flip (grain, JPEG blocks) is thus
    made of the mirrored face. Sizes are a function of the plan's seed and rank and the batch's number.
    """

    def __init__(self, source: BankFaces | OnlineFaces, px_range: tuple[int, int], side: int, degradation: str):
        self.source, self.plan, self.neighbours, self.resident = source, source.plan, source.neighbours, source.resident
        self.px_range, self.side, self.degradation = px_range, side, degradation

    def __getitem__(self, number: int) -> Batch:
        batch, plan = self.source[number], self.plan
        px_B = draw_px(np.random.default_rng((plan.seed, SIZES, number, plan.rank)), self.px_range, plan.batch_size)
        seen_BSSC = bring(batch.faces_BHWC, px_B, self.side, self.degradation)
        return replace(batch, faces_BHWC=seen_BSSC, px_B=torch.from_numpy(px_B))
