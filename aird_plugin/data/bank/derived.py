"""What follows from a cache's images once all of them are there: labels, class centers, lists of neighbors.

N = images, V = views, D = embedding width, C = identities.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from aird_plugin.data.bank.centers import class_centers
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.bank.files import new_array
from aird_plugin.data.bank.inputs import candidates_of
from aird_plugin.data.bank.neighbors import Candidates, hard_lists, rows_by_label, same_identity_lists
from aird_plugin.data.blocks import BLOCK
from aird_plugin.data.records import Records
from aird_plugin.utils.vectors import normalise

SEARCHED, SEARCHED_ROWS = "searched.npy", "searched_rows.npy"


class Derived(Protocol):
    """Arrays of a cache by name, computed from its main array. scratch: files that `whole` leaves for `rows`."""

    scratch: tuple[str, ...]
    has_rows: bool

    def whole(self, folder: Path, array_NVX: Any) -> dict[str, np.ndarray]:
        """The arrays that are one for all images. One process computes them."""

    def rows(self, folder: Path, rows: range) -> dict[str, np.ndarray]:
        """The arrays with an entry for each of these images, after `whole`. Several processes compute them, each some rows."""


class Labels:
    """The labels alone."""

    scratch: tuple[str, ...] = ()
    has_rows = False

    def __init__(self, records: Records):
        self.label_N = records.labels

    def whole(self, folder: Path, array_NVX: Any) -> dict[str, np.ndarray]:
        return {"person": self.label_N.astype(np.int32)}

    def rows(self, folder: Path, rows: range) -> dict[str, np.ndarray]:
        return {}


class CentersAndLists:
    """Class centers, labels and lists, from the mean over each image's views. What has N entries is mapped from scratch files."""

    scratch = ("mean.npy", "by_label.npy", SEARCHED, SEARCHED_ROWS)
    has_rows = True

    def __init__(self, config: BankConfig, records: Records, teacher: Any, device: str):
        self.config, self.records, self.teacher, self.device = config, records, teacher, device

    def whole(self, folder: Path, array_NVX: Any) -> dict[str, np.ndarray]:
        """Class centers (C, D) and labels (N,), from the embeddings (N, V, D); `rows` reads the scratch files that it writes."""
        label_N = self.records.labels
        mean_ND = new_array(folder / "mean.npy", (len(label_N), self.teacher.dim), np.float32)
        for start in range(0, len(label_N), BLOCK):
            rows = slice(start, start + BLOCK)
            mean_ND[rows] = normalise(array_NVX[rows].astype(np.float32).mean(1))
        if searched := candidates_of(self.config, len(label_N)):
            out_MD = new_array(folder / SEARCHED, (searched, self.teacher.dim), np.float32)
            found = Candidates.sample(mean_ND, searched, out_MD)
            np.save(folder / SEARCHED_ROWS, found.row_M)
        rows_by_label(label_N, new_array(folder / "by_label.npy", (len(label_N),), np.int32))
        centers_CD = class_centers(self.teacher, mean_ND, label_N, self.records.num_classes)
        return {"centres": centers_CD, "person": label_N.astype(np.int32)}

    def rows(self, folder: Path, rows: range) -> dict[str, np.ndarray]:
        """Lists of these images, int32: same identity (R, S) and hard negatives (R, K), -1 filled; (R, 0) without labels."""
        if not self.records.num_classes:
            # Of N images, N x N x D multiply-adds for lists that no term without labels reads.
            return {name: np.empty((len(rows), 0), np.int32) for name in ("same", "hard")}
        label_N = self.records.labels
        mean_ND = np.load(folder / "mean.npy", mmap_mode="c")
        by_label_N = np.load(folder / "by_label.npy", mmap_mode="r")
        candidates = None
        if candidates_of(self.config, len(label_N)):
            candidates = Candidates(np.load(folder / SEARCHED, mmap_mode="c"), np.load(folder / SEARCHED_ROWS, mmap_mode="r"))
        return {
            "same": same_identity_lists(mean_ND, label_N, self.config.bank_same, rows, by_label_N),
            "hard": hard_lists(mean_ND, label_N, self.config.bank_hard, self.device, rows, candidates),
        }
