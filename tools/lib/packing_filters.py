"""What make_rec.py leaves out of training sets that it writes as one: by list, as duplicates, by the teacher, by size.

N = images, D = embedding width, C = identities.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.images import FORMATS, decode
from aird_plugin.data.records import Records, where
from aird_plugin.data.text_tables import encoded_rows, read_rows
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.progress import progress

LISTED, DUPLICATE, UNLIKE, FEW = "listed", "duplicates", "unlike their identity", "identities with too few images"
BLOCK = 256


class Dropped:
    """The rows that are left out, each with its reason and, where there is one, a number."""

    def __init__(self, records: Records):
        self.records = records
        self.why: dict[int, tuple[str, str]] = {}

    def kept(self) -> np.ndarray:
        """The other rows, ascending."""
        return np.setdiff1d(np.arange(len(self.records)), list(self.why))

    def drop(self, rows, reason: str, details: Any = None) -> None:
        """Leave out rows; a row keeps its first reason."""
        for place, row in enumerate(np.asarray(rows).tolist()):
            self.why.setdefault(row, (reason, "" if details is None else str(details[place])))

    def name(self, row: int) -> str:
        return where(self.records, row)

    def write(self, file: str) -> None:
        """A CSV file: image, label, reason, detail."""
        rows = ([self.name(row), int(self.records.labels[row]), *self.why[row]] for row in sorted(self.why))
        write_atomically(Path(file), encoded_rows([["image", "label", "reason", "detail"], *rows]))


def drop_listed(dropped: Dropped, file: str) -> None:
    """Leave out the images that a list names, one a line, as `Dropped.write` and the doctor name them (a CSV's first column).

    Raises ValueError for a line that names no image.
    """
    rows = {dropped.name(row): row for row in range(len(dropped.records))}
    named = [row[0] for _, row in read_rows(file) if row[0] not in ("", "image")]
    unknown = [name for name in named if name not in rows]
    if unknown:
        example = next(iter(rows))
        raise ValueError(f"{file} names {len(unknown)} images that are not there, first {unknown[0]}; a name is like {example}")
    dropped.drop([rows[name] for name in named], LISTED)


def drop_duplicates(dropped: Dropped) -> None:
    """Leave out all but the first of images with equal bytes, also under another identity; the detail names the first."""
    first: dict[bytes, int] = {}
    for row in progress(dropped.kept().tolist(), None, "comparing", "images"):
        other = first.setdefault(hashlib.blake2b(dropped.records.payload(row)).digest(), row)
        if other != row:
            dropped.drop([row], DUPLICATE, [dropped.name(other)])


def drop_unlike(dropped: Dropped, teacher, least: float) -> None:
    """Leave out images whose cosine to the mean of the other images of their identity is below `least`, by the teacher.

    Single images have no such mean and stay. The means are of the images that are there before this filter.
    """
    rows = dropped.kept()
    if not len(rows):
        return
    embeddings_ND = embedded(dropped.records, rows, teacher)
    label_N = np.asarray(dropped.records.labels)[rows]
    sum_CD = np.zeros((int(label_N.max()) + 1, embeddings_ND.shape[1]))
    np.add.at(sum_CD, label_N, embeddings_ND)
    rest_ND = sum_CD[label_N] - embeddings_ND
    length_N = np.linalg.norm(rest_ND, axis=1)
    cosine_N = (rest_ND * embeddings_ND).sum(1) / np.maximum(length_N, 1e-12)
    unlike_N = (cosine_N < least) & (np.bincount(label_N)[label_N] > 1)
    dropped.drop(rows[unlike_N], UNLIKE, [f"{cosine:.4f}" for cosine in cosine_N[unlike_N]])


def drop_small(dropped: Dropped, least: int) -> None:
    """Leave out identities with fewer than `least` images that are left."""
    rows = dropped.kept()
    label_N = np.asarray(dropped.records.labels)[rows]
    if len(rows):
        dropped.drop(rows[np.bincount(label_N)[label_N] < least], FEW)


def embedded(records: Records, rows: np.ndarray, teacher) -> np.ndarray:
    """Normalised embeddings of rows, float64 (N, D). Raises ValueError for an image that is unreadable or not 112 px."""
    parts = []
    formats = getattr(records, "formats", FORMATS)
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    for block in progress(blocks, len(blocks), "embedding", "blocks"):
        images = [decode(records.payload(int(row)), where(records, int(row)), formats=formats) for row in block]
        parts.append(np.asarray(teacher.embed(np.stack(images)), np.float64))
    embeddings_ND = np.concatenate(parts)
    return embeddings_ND / np.linalg.norm(embeddings_ND, axis=1, keepdims=True)
