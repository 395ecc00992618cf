"""The bank: outputs of the frozen teacher and LR images for the student, computed once and mapped from disk.

It has two folders, each complete once manifest.json exists (it is written last):

teacher-vV/   embeddings.npy  float16 (N, V, D)  embeddings of every view, normalised
              centres.npy     float32 (C, D)     class centers: the teacher's own head, or class means
              same.npy        int32 (N, S)       other images of the identity, most similar first, -1 filled
              hard.npy        int32 (N, K)       images of other identities, most similar first, -1 filled
              person.npy      int32 (N,)         label of each image
part-KEY-vV/  embeddings.npy  float16 (N, V, E)  of one teacher of an ensemble, whose own folder is teacher-vV
lowPX-vV/     low.npy         uint8 (N, V/2, px, px, 3)  the LR image of every jitter; mirrored when read
              person.npy      int32 (N,)

The arrays with N rows lie in one file each, or, of more than `bank_shard_images` images, in one for each shard:
FOLDER/shard-00000/embeddings.npy and so on, read as one array (`sharded.py`); labels and class centers are never split.

Two more folders are optional: the embeddings projected for these images (`training/teacher_projection.py`), and features of a
generative teacher's encoder on the LR images (`prior_cache.py`).

The manifest records a folder's inputs; opening a folder with other inputs raises an error that names what changed.

N = images, V = views, D = embedding width, C = identities.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aird_plugin.data.bank.sharded import open_array
from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.degradation import BICUBIC, get_degradation
from aird_plugin.data.device_array import PLACES
from aird_plugin.data.lowres import check_px
from aird_plugin.data.views import VIEWS_VERSION, check_views, mirror_odd
from aird_plugin.utils.json_files import read_object

TEACHER_FORMAT = "aird-bank-teacher/1"
PART_FORMAT = "aird-bank-part/1"
LOW_FORMAT = "aird-bank-low/1"
MANIFEST = "manifest.json"
# Recorded only where they are not the usual ones.
OPTIONAL_INPUTS = ("teacher_input", "teacher_px", "bank_searched")


@dataclass(frozen=True)
class BankConfig:
    """Recipe keys of the bank and of the views it holds.

    views: views per image, flip times jitter; 2 is the paper's flip. bank_same, bank_hard: lengths of the lists of images of the
    same identity and of hard negatives. online: decode, downsample and run the teacher in every step instead (RID still takes
    its lists from the bank). bank_on: where the bank is held during training. "device": copied to the training device;
    "memory": mapped from disk; "auto": on a GPU if it takes at most half of the free memory, else "memory". Batches are equal.
    bank_searched: the hard negatives of a larger set are searched among so many random images, of another among all; a bank that
    exists with lists over all images serves too (docs/scale.md).
    bank_shard_images: a larger set is stored in shards of so many images, which several processes build at once (docs/scale.md);
    a bank that exists keeps its shards. Multiples of 1,024 give the same bytes as one file.
    skip_bad: the largest share of the images that may be left out because they are unreadable; 0 stops at the first one.
    """

    bank: str = "runs/bank"
    views: int = 2
    view_seed: int = 0
    bank_same: int = 32
    bank_hard: int = 256
    online: bool = False
    bank_on: str = "auto"
    skip_bad: float = 0.0
    bank_shard_images: int = 1 << 20
    bank_searched: int = 1 << 23

    def __post_init__(self):
        check_views(self.views)
        if self.bank_on not in PLACES:
            raise ValueError(f"bank_on is one of {', '.join(PLACES)}; got {self.bank_on!r}")
        if not 0 <= self.skip_bad < 1:
            raise ValueError(f"skip_bad is a share of the images, from 0 to below 1; got {self.skip_bad!r}")
        if not self.bank:
            raise ValueError("bank names the folder of the bank, for example bank=runs/bank")
        if self.view_seed < 0:
            raise ValueError(f"view_seed must be 0 or more; got {self.view_seed!r}")
        for key in ("bank_same", "bank_hard", "bank_shard_images", "bank_searched"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be 1 or more; got {getattr(self, key)!r}")

    @property
    def teacher_folder(self) -> Path:
        return Path(self.bank) / f"teacher-v{self.views}"

    def part_folder(self, inputs: dict[str, Any]) -> Path:
        """The folder of one teacher of an ensemble, named by its file, how it is fed and its px."""
        parts = [inputs["teacher"], inputs.get("teacher_input")] + ([inputs["teacher_px"]] if "teacher_px" in inputs else [])
        key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return Path(self.bank) / f"part-{key[:12]}-v{self.views}"

    def low_folder(self, px: int, degradation: str = BICUBIC) -> Path:
        suffix = "" if get_degradation(degradation).version == get_degradation(BICUBIC).version else f"-{degradation}"
        return Path(self.bank) / f"low{px}{suffix}-v{self.views}"


def teacher_cache_inputs(config: BankConfig, records_fingerprint: str, num_faces: int, teacher: dict[str, Any]) -> dict[str, Any]:
    """The inputs of the teacher cache, as its manifest records them."""
    return {
        "format": TEACHER_FORMAT,
        "records": records_fingerprint,
        "num_faces": num_faces,
        "teacher": teacher["sha256"],
        "views": config.views,
        "view_seed": config.view_seed,
        "views_version": VIEWS_VERSION,
        "bank_same": config.bank_same,
        "bank_hard": config.bank_hard,
    } | (teacher_input_entry(teacher) | ({"bank_searched": searched} if (searched := candidates_of(config, num_faces)) else {}))


def candidates_of(config: BankConfig, num_faces: int) -> int:
    """The number of images among which the hard negatives of so many are searched, 0 for all.

    A bank that is complete or begun with lists over all images keeps them.
    """
    if num_faces <= config.bank_searched:
        return 0
    for name in (MANIFEST, "building.json", "shards.json"):
        try:
            return int(config.bank_searched if "bank_searched" in read_object(config.teacher_folder / name)["inputs"] else 0)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return config.bank_searched


def teacher_input_entry(teacher: dict[str, Any]) -> dict[str, Any]:
    """Input and px of a teacher that is not fed as usual; nothing else, so that a bank of the usual one stays valid."""
    return {f"teacher_{key}": teacher[key] for key in ("input", "px") if teacher.get(key)}


def image_cache_inputs(
    config: BankConfig, records_fingerprint: str, num_faces: int, px: int, degradation: str = BICUBIC
) -> dict[str, Any]:
    """The inputs of an image cache, as its manifest records them."""
    return {
        "format": LOW_FORMAT,
        "records": records_fingerprint,
        "num_faces": num_faces,
        "px": check_px(px),
        "resize": get_degradation(degradation).version,
        "views": config.views,
        "view_seed": config.view_seed,
        "views_version": VIEWS_VERSION,
    }


def read_manifest(folder: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """Return the folder's manifest, None if the folder is incomplete.

    Raises ValueError if the manifest has other inputs, naming each that changed.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = read_object(path)
        found = dict(manifest["inputs"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no bank manifest ({error}); remove {folder} and build it again") from error
    keys = [*inputs, *(key for key in OPTIONAL_INPUTS if key in found and key not in inputs)]
    changed = [key for key in keys if found.get(key) != inputs.get(key)]
    if changed:
        detail = "; ".join(f"{key} was {_short(found.get(key))}, now {_short(inputs.get(key))}" for key in changed)
        raise ValueError(f"the bank in {folder} is stale: {detail}. Set another bank=FOLDER, or remove it and build it again")
    return manifest


def _short(value) -> str:
    """A value for an error message; hashes are cut."""
    text = str(value)
    return text if len(text) <= 40 else text[:12] + "..."


class TeacherCache:
    """The teacher cache: embeddings, class centers and candidate lists."""

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.manifest = manifest
        self.embeddings_NVD = open_array(folder, "embeddings")
        self.centers_CD = open_array(folder, "centres")
        self.same_NS = open_array(folder, "same")
        self.hard_NK = open_array(folder, "hard")
        self.label_N = open_array(folder, "person")

    @property
    def dim(self) -> int:
        return self.embeddings_NVD.shape[2]

    def embeddings(self, rows_X: np.ndarray, views_X: np.ndarray) -> np.ndarray:
        """Return the embeddings of these rows and views. float32 (..., D)."""
        return self.embeddings_NVD[rows_X, views_X].astype(np.float32)

    def project(self, embeddings_BD: torch.Tensor) -> torch.Tensor:
        """Project embeddings of images outside the bank as those in the bank; the identity here."""
        return embeddings_BD

    def hide_labels(self) -> None:
        """Remove all that depends on labels, for a run that does not use them: no class centers, empty lists, no identities."""
        self.centers_CD, self.same_NS, self.hard_NK = self.centers_CD[:0], self.same_NS[:, :0], self.hard_NK[:, :0]
        self.label_N = np.full_like(self.label_N, NO_IDENTITY)


class ImageCache:
    """The image cache: LR images and labels."""

    def __init__(self, folder: Path, manifest: dict[str, Any]):
        self.manifest = manifest
        self.low_NJHWC = open_array(folder, "low")
        self.label_N = open_array(folder, "person")

    def faces(self, rows_B: np.ndarray, views_B: np.ndarray) -> np.ndarray:
        """Return the LR images of these rows and views. uint8 (B, px, px, 3)."""
        return mirror_odd(self.low_NJHWC[rows_B, views_B // 2], views_B)

    def hide_labels(self) -> None:
        """Replace the labels by `NO_IDENTITY`, for a run that does not use them."""
        self.label_N = np.full_like(self.label_N, NO_IDENTITY)
