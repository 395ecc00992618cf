"""Build batches from the bank, or by decoding and degrading images on the fly. Both give the same batch for the same step.

A source maps a batch's number to the batch, so workers can prepare it and a resumed run can start anywhere.

B = images on this rank, K = negatives, D = embedding width.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin.data.bank.caches import ImageCache, TeacherCache
from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.degradation import downsample
from aird_plugin.data.device_array import DeviceArray
from aird_plugin.data.mixup import mixed
from aird_plugin.data.records import Records, decode_face
from aird_plugin.data.sampler import MIXUP, BatchIndices, BatchSampler
from aird_plugin.data.views import jitter, mirror_odd


@dataclass
class Batch:
    """The images of one step on this rank. Teacher tensors are None unless requested; feature maps stay on their own device.

    also_PBSSC: the same images in the same views at further sizes, one tensor per size. px_B: see `data/multi_size.py`.
    The bank's float16 stays float16 until `build_loss_inputs`, which halves the bytes to copy. images_BHWC is None where the
    device downsamples hr_BHWC (`TrainingSetup.to_device`). resize: what the device then does with images_BHWC, or None.
    """

    images_BHWC: torch.Tensor | None
    label_B: torch.Tensor
    row_B: torch.Tensor | None = None
    teacher_BD: torch.Tensor | None = None
    hr_BHWC: torch.Tensor | None = None
    anchor_BD: torch.Tensor | None = None
    has_anchor_B: torch.Tensor | None = None
    negative_BKD: torch.Tensor | None = None
    negative_exists_BK: torch.Tensor | None = None
    teacher_maps: tuple[torch.Tensor, ...] = ()
    also_PBSSC: tuple[torch.Tensor, ...] = ()
    px_B: torch.Tensor | None = None
    generative_BCHW: torch.Tensor | None = None
    resize: Callable[[torch.Tensor], torch.Tensor] | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the same batch in pinned memory, so that copies to a GPU overlap its work (the loader calls this)."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        tuples = {"also_PBSSC": tuple(change(tensor) for tensor in tensors.pop("also_PBSSC"))}
        singles = {name: change(tensor) for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}
        return replace(self, **tuples, **singles)


class Neighbours:
    """Relation candidates from the bank: an anchor for each image and the anchor's list of hard negatives.

    The anchor is an image of the same identity, drawn from the precomputed list. For an identity with a single image it is
    another view of that image (lone_faces="view"), or the image has no relation term (lone_faces="skip"). Negatives are in the
    anchor's view. place: None, or the device that holds the arrays.
    """

    def __init__(self, bank: TeacherCache, negatives: int, lone_faces: str, place: torch.device | None = None):
        available = bank.hard_NK.shape[1]
        if negatives > available:
            raise ValueError(
                f"{negatives} negatives requested, but the bank lists {available}; build it with bank_hard={negatives}"
            )
        self.bank, self.lone_faces = bank, lone_faces
        self.embeddings = DeviceArray(bank.embeddings_NVD, place)
        self.hard = DeviceArray(bank.hard_NK[:, None, :negatives], place)

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

    place: None, or the device that holds the bank; batches are then built on it, and only their indices are copied to it.
    flip_mean: whether an image's teacher embedding is the sum over the view and its mirror image, not normalised, in float32.
    """

    def __init__(
        self,
        sampler: BatchSampler,
        low: ImageCache,
        teacher: TeacherCache | None,
        neighbours: Neighbours | None,
        also: tuple[ImageCache, ...] = (),
        place: torch.device | None = None,
        flip_mean: bool = False,
    ):
        self.flip_mean = flip_mean
        self.sampler, self.neighbours, self.on_device = sampler, neighbours, place is not None
        self.label = DeviceArray(low.label_N[:, None], place)
        self.low, *self.also = (DeviceArray(cache.low_NJHWC, place) for cache in (low, *also))
        self.embeddings = None
        if teacher is not None:
            # `neighbours` holds this very array, so the device stores it once.
            self.embeddings = neighbours.embeddings if neighbours else DeviceArray(teacher.embeddings_NVD, place)

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


class OnlineFaces(Dataset):
    """Batches decoded, jittered and downsampled in the step; the loop runs the teacher on `hr_BHWC`.

    downsamples: False leaves the downsampling to the training device. with_hr: whether batches hold `hr_BHWC` anyway. mixup: 0
    or alpha of `data/mixup.py`: the HR images are mixed, then downsampled, and the teacher sees the mixtures too.
    """

    on_device = False

    def __init__(
        self,
        sampler: BatchSampler,
        records: Records,
        px: int,
        degradation: str,
        view_seed: int,
        with_hr: bool,
        neighbours: Neighbours | None,
        also_px: tuple[int, ...] = (),
        downsamples: bool = True,
        mixup: float = 0.0,
    ):
        self.mixup = mixup
        self.sampler, self.records, self.px, self.degradation, self.view_seed = sampler, records, px, degradation, view_seed
        self.with_hr, self.neighbours, self.also_px, self.downsamples = with_hr, neighbours, also_px, downsamples

    def __getitem__(self, number: int) -> Batch:
        draw = self.sampler.indices(number)
        hr_BHWC = np.stack(
            [
                jitter(decode_face(self.records, int(row)), int(row), int(view) // 2, self.view_seed)
                for row, view in zip(draw.rows_B, draw.views_B, strict=True)
            ]
        )

        views_B = draw.views_B
        if self.mixup:
            rng = np.random.default_rng((self.sampler.seed, MIXUP, number, self.sampler.rank))
            hr_BHWC, views_B = mixed(mirror_odd(hr_BHWC, views_B), self.mixup, rng), np.zeros_like(views_B)

        def downsampled(px: int) -> torch.Tensor:
            # Downsampled first, mirrored second, as in the bank: noise and JPEG blocks do not commute with the flip.
            # At 112 px `downsample` returns its argument; the copy keeps it from being mirrored twice.
            return torch.from_numpy(mirror_odd(downsample(hr_BHWC, px, self.degradation).copy(), views_B))

        batch = Batch(
            images_BHWC=downsampled(self.px) if self.downsamples else None,
            also_PBSSC=tuple(map(downsampled, self.also_px)) if self.downsamples else (),
            label_B=torch.from_numpy(self.records.labels[draw.rows_B].astype(np.int64)),
            row_B=torch.from_numpy(draw.rows_B),
            hr_BHWC=torch.from_numpy(mirror_odd(hr_BHWC, views_B)) if self.with_hr or not self.downsamples else None,
        )
        return replace(batch, **self.neighbours.lookup(draw)) if self.neighbours else batch
