"""The bank: what the frozen teacher knows and the student will see, computed once and mapped from disk.

Two folders, each complete when its manifest.json is there (it is written last):

teacher-vV/   embeddings.npy  float16 (N, V, D)  the teacher on every view, normalised
              centres.npy     float32 (C, D)     the teacher's classifier: its own head, or class means
              same.npy        int32 (N, S)       other faces of the person, the most alike first, -1 filled
              hard.npy        int32 (N, K)       faces of other people, the most alike first, -1 filled
              person.npy      int32 (N,)         label of each face
lowPX-vV/     low.npy         uint8 (N, V/2, px, px, 3)  the shrunken face of every jitter; mirrored when read
              person.npy      int32 (N,)

Two more, where a recipe asks for them: the teacher adapted to these faces (`teacher_adapter`), and what a generative teacher's
encoder says of the low ones (`bank_prior`).

The manifest ties a folder to its inputs; one that differs is refused by the name of what changed.

N = faces, V = views, D = embedding width, C = people.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.degrade import BICUBIC, named
from aird_plugin.data.lowres import check_px
from aird_plugin.data.shelf import PLACES
from aird_plugin.data.views import VIEWS_VERSION, check_views, mirror_odd
from aird_plugin.jsonfile import read_object

TEACHER_FORMAT = "aird-bank-teacher/1"
LOW_FORMAT = "aird-bank-low/1"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class BankConfig:
    """Recipe keys of the bank and of the views it holds.

    views: views of a face, flip times jitter; 2 is the paper's flip. bank_same, bank_hard: lengths of the lists of same-person
    and hard other-person faces. online: decode, shrink and ask the teacher in every step instead (RID still takes its lists
    from the bank). bank_on: where the bank lies in training. "device": whole in the memory of the device that trains; "memory":
    mapped from disk; "auto": on a GPU where it takes at most half of the free memory, else "memory". Batches are the same.
    """

    bank: str = "runs/bank"
    views: int = 2
    view_seed: int = 0
    bank_same: int = 32
    bank_hard: int = 256
    online: bool = False
    bank_on: str = "auto"

    def __post_init__(self):
        check_views(self.views)
        if self.bank_on not in PLACES:
            raise ValueError(f"bank_on is one of {', '.join(PLACES)}; got {self.bank_on!r}")
        for key in ("bank_same", "bank_hard"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more; got {getattr(self, key)!r}")

    @property
    def teacher_folder(self) -> Path:
        return Path(self.bank) / f"teacher-v{self.views}"

    def low_folder(self, px: int, degradation: str = BICUBIC) -> Path:
        made = "" if named(degradation).version == named(BICUBIC).version else f"-{degradation}"
        return Path(self.bank) / f"low{px}{made}-v{self.views}"


def teacher_inputs(config: BankConfig, records_fingerprint: str, num_faces: int, teacher: dict[str, Any]) -> dict[str, Any]:
    """What the teacher's half depends on, as its manifest states it."""
    return {
        "format": TEACHER_FORMAT, "records": records_fingerprint, "num_faces": num_faces, "teacher": teacher["sha256"],
        "views": config.views, "view_seed": config.view_seed, "views_version": VIEWS_VERSION,
        "bank_same": config.bank_same, "bank_hard": config.bank_hard,
    }  # fmt: skip


def low_inputs(
    config: BankConfig, records_fingerprint: str, num_faces: int, px: int, degradation: str = BICUBIC
) -> dict[str, Any]:
    """What the half of low faces depends on, as its manifest states it."""
    return {
        "format": LOW_FORMAT, "records": records_fingerprint, "num_faces": num_faces, "px": check_px(px),
        "resize": named(degradation).version,
        "views": config.views, "view_seed": config.view_seed, "views_version": VIEWS_VERSION,
    }  # fmt: skip


def read_manifest(folder: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """The folder's manifest, None where it was never finished.

    Raises ValueError where it was made from other inputs, naming each that changed.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = read_object(path)
        found = dict(manifest["inputs"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no bank manifest ({error}); remove {folder} and build it again") from error
    changed = [key for key in inputs if found.get(key) != inputs[key]]
    if changed:
        detail = "; ".join(f"{key} was {_short(found.get(key))}, now {_short(inputs[key])}" for key in changed)
        raise ValueError(f"the bank in {folder} is stale: {detail}. Name another bank=FOLDER, or remove it and build again")
    return manifest


def _short(value) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."


def open_array(folder: Path, name: str) -> np.ndarray:
    """A mapped array of the bank (pages are shared; writes stay private). ValueError where the file is cut or missing."""
    path = folder / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)
    # numpy reads the header by Python's own tokenizer and parser, which fail on damaged text in their own ways.
    except Exception as error:
        raise ValueError(f"{path} is missing or damaged ({error}); remove {folder} and build the bank again") from error


class TeacherBank:
    """The teacher's half, opened."""

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.manifest = manifest
        self.embeddings_NVD = open_array(folder, "embeddings")
        self.centres_CD = open_array(folder, "centres")
        self.same_NS = open_array(folder, "same")
        self.hard_NK = open_array(folder, "hard")
        self.person_N = open_array(folder, "person")

    @property
    def dim(self) -> int:
        return self.embeddings_NVD.shape[2]

    def embeddings(self, rows_X: np.ndarray, views_X: np.ndarray) -> np.ndarray:
        """Teacher embeddings of the rows in those views. float32 (..., D)."""
        return self.embeddings_NVD[rows_X, views_X].astype(np.float32)

    def as_taught(self, embeddings_BD):
        """What the teacher says of a face outside the bank, as terms are to see it: here unchanged."""
        return embeddings_BD


class LowBank:
    """The half of low faces, opened."""

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.manifest = manifest
        self.low_NJHWC = open_array(folder, "low")
        self.person_N = open_array(folder, "person")

    def faces(self, rows_B: np.ndarray, views_B: np.ndarray) -> np.ndarray:
        """The low faces of the rows in those views. uint8 (B, px, px, 3)."""
        return mirror_odd(self.low_NJHWC[rows_B, views_B // 2], views_B)
