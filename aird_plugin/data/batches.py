"""Build batches from the bank. `online_batches.py` builds the same ones from the images.

A source maps a batch's number to the batch, so workers can prepare it and a resumed run can start anywhere.

B = images on this rank, K = negatives, D = embedding width.
"""

from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin.data.bank.caches import ImageCache, TeacherCache
from aird_plugin.data.batch import Batch
from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.device_array import DeviceArray
from aird_plugin.data.sampler import BatchIndices, BatchSampler


class Neighbours:
    """Relation candidates from the bank: an anchor for each image and the anchor's list of hard negatives.

    The anchor is an image of the same identity, drawn from the precomputed list. For an identity with a single image it is
    another view of that image (lone_faces="view"), or the image has no relation term (lone_faces="skip"). Negatives are in the
    anchor's view. device: None, or the device that holds the arrays.
    """

    def __init__(self, bank: TeacherCache, negatives: int, lone_faces: str, device: torch.device | None = None):
        available = bank.hard_NK.shape[1]
        if negatives > available:
            raise ValueError(
                f"{negatives} negatives requested, but the bank lists {available}; build it with bank_hard={negatives}"
            )
        self.bank, self.lone_faces = bank, lone_faces
        self.embeddings = DeviceArray(bank.embeddings_NVD, device)
        self.hard = DeviceArray(bank.hard_NK[:, None, :negatives], device)

    def lookup(self, draw: BatchIndices) -> dict[str, torch.Tensor]:
        """Return the four neighbor fields of a batch. Embeddings stay float16, as in the bank."""
        row_B, view_B, has_anchor_B = self.embeddings.to_device(*self._draw_anchors(draw))
        hard_BK = self.hard(row_B, torch.zeros_like(row_B))
        negative_BK = hard_BK.clamp(min=0).long()
        return {
            "anchor_BD": self.embeddings(row_B, view_B),
            "has_anchor_B": has_anchor_B,
            "negative_BKD": self.embeddings(negative_BK, view_B[:, None].expand_as(negative_BK)),
            "negative_exists_BK": hard_BK != NO_IDENTITY,
        }

    def _draw_anchors(self, draw: BatchIndices) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw each image's anchor: its row, its view, and whether the image has a relation term."""
        views, count = self.embeddings.views, len(draw.rows_B)
        same_BS = self.bank.same_NS[draw.rows_B]
        known_B = (same_BS != NO_IDENTITY).sum(1)
        pick_B = (draw.rng.random(count) * known_B).astype(np.int64)
        single_B = known_B == 0
        row_B = np.where(single_B, draw.rows_B, same_BS[np.arange(count), pick_B])
        other_B, any_B = draw.rng.integers(1, views, count), draw.rng.integers(0, views, count)
        view_B = np.where(single_B, draw.views_B + other_B, any_B) % views
        return row_B, view_B, ~single_B if self.lone_faces == "skip" else np.ones_like(single_B)


class BankFaces(Dataset):
    """Batches from the bank, without decoding or a teacher forward. also: the image caches of further sizes.

    device: None, or the device that holds the bank; batches are then built on it, and only their indices are copied to it.
    flip_mean: whether an image's teacher embedding is the sum over the view and its mirror image, not normalised, in float32.
    """

    def __init__(
        self,
        sampler: BatchSampler,
        low: ImageCache,
        teacher: TeacherCache | None,
        neighbours: Neighbours | None,
        also: tuple[ImageCache, ...] = (),
        device: torch.device | None = None,
        flip_mean: bool = False,
    ):
        self.flip_mean = flip_mean
        self.sampler, self.neighbours, self.on_device = sampler, neighbours, device is not None
        self.label = DeviceArray(low.label_N[:, None], device)
        self.low, *self.also = (DeviceArray(cache.low_NJHWC, device) for cache in (low, *also))
        self.embeddings = None
        if teacher is not None:
            # `neighbours` holds this very array, so the device stores it once.
            self.embeddings = neighbours.embeddings if neighbours else DeviceArray(teacher.embeddings_NVD, device)

    def __getitem__(self, number: int) -> Batch:
        draw = self.sampler.indices(number)
        row_B, view_B, *mirroring = self.low.to_device(draw.rows_B, draw.views_B, *mirror_indices(draw.views_B))
        batch = Batch(
            images_BHWC=gather_views(self.low, row_B, view_B, *mirroring),
            label_B=self.label(row_B, torch.zeros_like(row_B)).long(),
            row_B=row_B,
            also_PBSSC=tuple(gather_views(low, row_B, view_B, *mirroring) for low in self.also),
            teacher_BD=self._targets(row_B, view_B),
        )
        return replace(batch, **self.neighbours.lookup(draw)) if self.neighbours else batch

    def _targets(self, row_B: torch.Tensor, view_B: torch.Tensor) -> torch.Tensor | None:
        """The teacher's embeddings of these views, or their sums with those of the mirror images. (B, D)"""
        if self.embeddings is None:
            return None
        target_BD = self.embeddings(row_B, view_B)
        # Views 2 n and 2 n + 1 are mirror images of each other.
        return target_BD.float() + self.embeddings(row_B, view_B ^ 1) if self.flip_mean else target_BD


def mirror_indices(views_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the odd views (X,), and each image's index in the batch with the mirror images appended (B,)."""
    odd_X, index_B = np.flatnonzero(views_B % 2), np.arange(len(views_B))
    index_B[odd_X] = len(views_B) + np.arange(len(odd_X))
    return odd_X, index_B


def gather_views(
    low: DeviceArray, row_B: torch.Tensor, view_B: torch.Tensor, odd_X: torch.Tensor, index_B: torch.Tensor
) -> torch.Tensor:
    """Gather the LR images of these rows and views; an odd view is the mirrored jitter. uint8 (B, px, px, 3).

    The indices (`mirror_indices`) are arguments, since computing them on a GPU would make the CPU wait for it. Mirrored images
    are appended to the others and gathered from there: torch scatters bytes one by one (11 us an image of 112 px, against 3).
    """
    images_BHWC = low(row_B, view_B // 2)
    return torch.cat([images_BHWC, images_BHWC.index_select(0, odd_X).flip(2)]).index_select(0, index_B)
