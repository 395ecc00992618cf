"""Faces -> batches: from the bank, or decoded and degraded on the fly. Both give the same batch for the same step.

A source is a map from a batch's number to the batch, so workers can prepare it and a resumed run can begin anywhere.

B = faces on this rank, K = negatives, D = embedding width.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from aird_plugin.data.bank import LowBank, TeacherBank
from aird_plugin.data.bank_build import decode_face
from aird_plugin.data.degrade import shrink
from aird_plugin.data.facerec import FaceRecords
from aird_plugin.data.folder import FolderRecords
from aird_plugin.data.plan import Draw, Plan
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
    """

    faces_BHWC: torch.Tensor
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

    def __init__(self, bank: TeacherBank, negatives: int, lone_faces: str):
        available = bank.hard_NK.shape[1]
        if negatives > available:
            raise ValueError(f"{negatives} negatives asked, but the bank lists {available}; build it with bank_hard={negatives}")
        self.bank, self.negatives, self.lone_faces = bank, negatives, lone_faces

    def lookup(self, draw: Draw) -> dict[str, torch.Tensor]:
        """The four neighbour fields of a batch."""
        bank, views = self.bank, self.bank.embeddings_NVD.shape[1]
        same_BS = bank.same_NS[draw.rows_B]
        known_B = (same_BS != NOBODY).sum(1)
        pick_B = (draw.rng.random(len(known_B)) * known_B).astype(np.int64)
        lone_B = known_B == 0
        row_B = np.where(lone_B, draw.rows_B, same_BS[np.arange(len(pick_B)), pick_B])
        view_B = np.where(lone_B, draw.views_B + draw.rng.integers(1, views, len(row_B)), draw.rng.integers(0, views, len(row_B)))
        view_B %= views
        hard_BK = bank.hard_NK[row_B, : self.negatives]
        has_anchor_B = ~lone_B if self.lone_faces == "skip" else np.ones_like(lone_B)
        return {
            "anchor_BD": torch.from_numpy(bank.embeddings(row_B, view_B)),
            "has_anchor_B": torch.from_numpy(has_anchor_B),
            "negative_BKD": torch.from_numpy(bank.embeddings(np.maximum(hard_BK, 0), view_B[:, None])),
            "negative_exists_BK": torch.from_numpy(hard_BK != NOBODY),
        }


class BankFaces(Dataset):
    """Batches from the bank: no decoding, no teacher. also: the halves of further sizes."""

    def __init__(
        self, plan: Plan, low: LowBank, teacher: TeacherBank | None, neighbours: Neighbours | None,
        also: tuple[LowBank, ...] = (),
    ):  # fmt: skip
        self.plan, self.low, self.teacher, self.neighbours, self.also = plan, low, teacher, neighbours, also

    def __getitem__(self, number: int) -> Batch:
        draw = self.plan.draw(number)
        batch = Batch(
            faces_BHWC=torch.from_numpy(self.low.faces(draw.rows_B, draw.views_B)),
            person_B=torch.from_numpy(self.low.person_N[draw.rows_B].astype(np.int64)),
            row_B=torch.from_numpy(draw.rows_B),
            also_PBSSC=tuple(torch.from_numpy(low.faces(draw.rows_B, draw.views_B)) for low in self.also),
        )
        if self.teacher is not None:
            batch.teacher_BD = torch.from_numpy(self.teacher.embeddings(draw.rows_B, draw.views_B))
        return replace(batch, **self.neighbours.lookup(draw)) if self.neighbours else batch


class OnlineFaces(Dataset):
    """Batches decoded, jittered and shrunk in the step; the loop asks the teacher about `high_BHWC`."""

    def __init__(
        self, plan: Plan, records, px: int, degradation: str, view_seed: int, with_high: bool, neighbours: Neighbours | None,
        also_px: tuple[int, ...] = (),
    ):  # fmt: skip
        self.plan, self.records, self.px, self.degradation, self.view_seed = plan, records, px, degradation, view_seed
        self.with_high, self.neighbours, self.also_px = with_high, neighbours, also_px

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
            faces_BHWC=small(self.px),
            also_PBSSC=tuple(map(small, self.also_px)),
            person_B=torch.from_numpy(self.records.labels[draw.rows_B].astype(np.int64)),
            row_B=torch.from_numpy(draw.rows_B),
            high_BHWC=torch.from_numpy(mirror_odd(high_BHWC, draw.views_B)) if self.with_high else None,
        )
        return replace(batch, **self.neighbours.lookup(draw)) if self.neighbours else batch


def loader(source: Dataset, first: int, last: int, num_workers: int, pin_memory: bool) -> DataLoader:
    """Batches number first to last - 1 in order; workers, if any, prepare them ahead."""
    return DataLoader(
        source, batch_size=None, sampler=range(first, last), num_workers=num_workers, pin_memory=pin_memory,
        persistent_workers=False,
    )  # fmt: skip
