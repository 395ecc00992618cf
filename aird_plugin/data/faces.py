"""Faces -> batches: from the bank, or decoded and degraded on the fly. Both give the same batch for the same step.

A source is a map from a batch's number to the batch, so workers can prepare it and a resumed run can begin anywhere.

B = faces on this rank, K = negatives, D = embedding width.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from aird_plugin.data.bank import LowBank, TeacherBank
from aird_plugin.data.bank_build import decode_face
from aird_plugin.data.degrade import shrink
from aird_plugin.data.facerec import FaceRecords
from aird_plugin.data.folder import FolderRecords
from aird_plugin.data.plan import Draw, Plan
from aird_plugin.data.shelf import Shelf
from aird_plugin.data.views import jitter, mirror_odd

NOBODY = -1


def open_records(path: str):
    """The faces at `path`: a folder with train.rec, a .rec file, or a folder of one subfolder per person.

    Gives an object with `labels` (N,), `num_classes`, `payload(row)`, `fingerprint()` and `path`.
    """
    place = Path(path)
    if place.suffix == ".rec":
        return FaceRecords(place)
    if (place / "train.rec").exists():
        return FaceRecords(place / "train.rec")
    if place.is_dir():
        return FolderRecords(place)
    raise FileNotFoundError(f"rec={path}: no such folder or .rec file; it holds train.rec, or one subfolder per person")


@dataclass
class Batch:
    """One step's faces of this rank. Teacher tensors are None where nobody asked for them; its maps stay where it made them.

    also_PBSSC: the same faces in the same views at further sizes, a tensor each. px_B: see `data/sizes.py`.
    What the bank holds in float16 stays so until `look`, so that half the bytes travel. faces_BHWC is None where the device is to
    make it of high_BHWC (`Lesson.receive`).
    """

    faces_BHWC: torch.Tensor | None
    person_B: torch.Tensor
    row_B: torch.Tensor | None = None
    teacher_BD: torch.Tensor | None = None
    high_BHWC: torch.Tensor | None = None
    anchor_BD: torch.Tensor | None = None
    has_anchor_B: torch.Tensor | None = None
    negative_BKD: torch.Tensor | None = None
    negative_exists_BK: torch.Tensor | None = None
    teacher_maps: tuple[torch.Tensor, ...] = ()
    also_PBSSC: tuple[torch.Tensor, ...] = ()
    px_B: torch.Tensor | None = None
    generative_BCHW: torch.Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The same batch in pinned memory, from which copies to a GPU run beside its work (the loader calls this)."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        several = {"also_PBSSC": tuple(change(tensor) for tensor in tensors.pop("also_PBSSC"))}
        ones = {name: change(tensor) for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}
        return replace(self, **several, **ones)


class Neighbours:
    """Relation candidates from the bank: an anchor for each face and the anchor's hard list.

    The anchor is a same-person face chosen from the offline list. For a person with one face it is another view of that face
    (lone_faces="view"), or the face has no relation term (lone_faces="skip"). Negatives come in the anchor's view.
    """

    def __init__(self, bank: TeacherBank, negatives: int, lone_faces: str, place: torch.device | None = None):
        available = bank.hard_NK.shape[1]
        if negatives > available:
            raise ValueError(f"{negatives} negatives asked, but the bank lists {available}; build it with bank_hard={negatives}")
        self.bank, self.lone_faces = bank, lone_faces
        self.embeddings = Shelf(bank.embeddings_NVD, place)
        self.hard = Shelf(bank.hard_NK[:, None, :negatives], place)

    def lookup(self, draw: Draw) -> dict[str, torch.Tensor]:
        """The four neighbour fields of a batch. Embeddings in float16, as the bank has them."""
        bank, views = self.bank, self.embeddings.views
        same_BS = bank.same_NS[draw.rows_B]
        known_B = (same_BS != NOBODY).sum(1)
        pick_B = (draw.rng.random(len(known_B)) * known_B).astype(np.int64)
        lone_B = known_B == 0
        row_B = np.where(lone_B, draw.rows_B, same_BS[np.arange(len(pick_B)), pick_B])
        view_B = np.where(lone_B, draw.views_B + draw.rng.integers(1, views, len(row_B)), draw.rng.integers(0, views, len(row_B)))
        view_B %= views
        has_anchor_B = ~lone_B if self.lone_faces == "skip" else np.ones_like(lone_B)
        row_B, view_B, has_anchor_B = self.embeddings.sent(row_B, view_B, has_anchor_B)
        hard_BK = self.hard(row_B, torch.zeros_like(row_B))
        negative_BK = hard_BK.clamp(min=0).long()
        return {
            "anchor_BD": self.embeddings(row_B, view_B),
            "has_anchor_B": has_anchor_B,
            "negative_BKD": self.embeddings(negative_BK, view_B[:, None].expand_as(negative_BK)),
            "negative_exists_BK": hard_BK != NOBODY,
        }


class BankFaces(Dataset):
    """Batches from the bank: no decoding, no teacher. also: the halves of further sizes.

    place: None, or the device that holds the bank; then batches come to lie there, and their indices alone go over.
    """

    def __init__(
        self, plan: Plan, low: LowBank, teacher: TeacherBank | None, neighbours: Neighbours | None,
        also: tuple[LowBank, ...] = (), place: torch.device | None = None,
    ):  # fmt: skip
        self.plan, self.neighbours, self.resident = plan, neighbours, place is not None
        self.person = Shelf(low.person_N[:, None], place)
        self.low, *self.also = (Shelf(half.low_NJHWC, place) for half in (low, *also))
        self.embeddings = None
        if teacher is not None:
            # The neighbours' shelf holds this very array: it lies on a device once.
            self.embeddings = neighbours.embeddings if neighbours else Shelf(teacher.embeddings_NVD, place)

    def __getitem__(self, number: int) -> Batch:
        draw = self.plan.draw(number)
        row_B, view_B, *mirroring = self.low.sent(draw.rows_B, draw.views_B, *mirrored_places(draw.views_B))
        batch = Batch(
            faces_BHWC=in_view(self.low, row_B, view_B, *mirroring),
            person_B=self.person(row_B, torch.zeros_like(row_B)).long(),
            row_B=row_B,
            also_PBSSC=tuple(in_view(low, row_B, view_B, *mirroring) for low in self.also),
            teacher_BD=None if self.embeddings is None else self.embeddings(row_B, view_B),
        )
        return replace(batch, **self.neighbours.lookup(draw)) if self.neighbours else batch


def mirrored_places(views_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the odd views (X,), and for each face its place in the batch with their mirror images behind it (B,)."""
    odd_X, place_B = np.flatnonzero(views_B % 2), np.arange(len(views_B))
    place_B[odd_X] = len(views_B) + np.arange(len(odd_X))
    return odd_X, place_B


def in_view(low: Shelf, row_B: torch.Tensor, view_B: torch.Tensor, odd_X: torch.Tensor, place_B: torch.Tensor) -> torch.Tensor:
    """Low faces of the rows in those views: the jitter's face, an odd view's mirrored. uint8 (B, px, px, 3).

    The places (`mirrored_places`) are given, since finding them on a GPU would have the CPU wait for it. Mirrored faces are put
    behind the others and picked from there: torch writes bytes to places one by one (11 us a face of 112 px, against 3).
    """
    faces_BHWC = low(row_B, view_B // 2)
    return torch.cat([faces_BHWC, faces_BHWC.index_select(0, odd_X).flip(2)]).index_select(0, place_B)


class OnlineFaces(Dataset):
    """Batches decoded, jittered and shrunk in the step; the loop asks the teacher about `high_BHWC`.

    shrinks: False leaves the shrinking to the device that trains.
    """

    resident = False

    def __init__(
        self, plan: Plan, records, px: int, degradation: str, view_seed: int, with_high: bool, neighbours: Neighbours | None,
        also_px: tuple[int, ...] = (), shrinks: bool = True,
    ):  # fmt: skip
        self.plan, self.records, self.px, self.degradation, self.view_seed = plan, records, px, degradation, view_seed
        self.with_high, self.neighbours, self.also_px, self.shrinks = with_high, neighbours, also_px, shrinks

    def __getitem__(self, number: int) -> Batch:
        draw = self.plan.draw(number)
        high_BHWC = np.stack([
            jitter(decode_face(self.records, int(row)), int(row), int(view) // 2, self.view_seed)
            for row, view in zip(draw.rows_B, draw.views_B, strict=True)
        ])  # fmt: skip

        def small(px: int) -> torch.Tensor:
            # Shrunken first, mirrored then, as the bank does it: grain and JPEG blocks do not commute with the flip.
            # Faces of 112 px come back as they are, and must not be mirrored twice.
            return torch.from_numpy(mirror_odd(shrink(high_BHWC, px, self.degradation).copy(), draw.views_B))

        batch = Batch(
            faces_BHWC=small(self.px) if self.shrinks else None,
            also_PBSSC=tuple(map(small, self.also_px)) if self.shrinks else (),
            person_B=torch.from_numpy(self.records.labels[draw.rows_B].astype(np.int64)),
            row_B=torch.from_numpy(draw.rows_B),
            high_BHWC=torch.from_numpy(mirror_odd(high_BHWC, draw.views_B)) if self.with_high or not self.shrinks else None,
        )
        return replace(batch, **self.neighbours.lookup(draw)) if self.neighbours else batch
