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

from pathlib import Path
from typing import Any

import numpy as np
import torch

from aird_plugin.data.bank.sharded import open_array
from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.views import mirror_odd


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
