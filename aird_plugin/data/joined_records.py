"""Several training sets as one: record files and folders of images, identities apart by source or joined by a list.

The interface is that of `FaceRecords`. N = images, S = sources.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.image_files import Accounting
from aird_plugin.data.images import FILE_FORMATS, FORMATS
from aird_plugin.data.recordio.face_records import FaceRecords
from aird_plugin.data.text_tables import read_rows

SHARD = re.compile(r"train_(\d+)\.rec")


class JoinedRecords:
    """The images of all sources, in their order.

    labels: those of each source after the labels of the sources before it, so that no two sources share an identity.
    one_numbering: the sources number their identities together, as shards do; labels are taken as they are. identity_map: a CSV
    file that joins identities (`read_identity_map`); then labels number the identities by first appearance.

    Raises ValueError for sources of which only some have labels, for a map of sources without labels, and what
    `read_identity_map` raises.
    """

    def __init__(self, sources: Sequence[Any], one_numbering: bool = False, identity_map: str = ""):
        self.sources = list(sources)
        self.path = " + ".join(str(source.path) for source in self.sources)
        labelled = [bool(source.num_classes) for source in self.sources]
        if len(set(labelled)) > 1:
            without = [str(source.path) for source, has in zip(self.sources, labelled, strict=True) if not has]
            raise ValueError(f"{', '.join(without)} has no labels, the other training sets have; train on those or on these")
        self.starts_S = np.cumsum([0, *map(len, self.sources)])
        counts = [source.num_classes for source in self.sources]
        offsets = [0] * len(counts) if one_numbering else np.cumsum([0, *counts])[:-1].tolist()
        self.num_classes = max(counts) if one_numbering else sum(counts)
        if identity_map and not labelled[0]:
            raise ValueError(f"identity_map={identity_map} joins identities, and {self.path} has no labels; leave it out")
        if not labelled[0]:
            self.labels = np.full(len(self), NO_IDENTITY)
        else:
            parts = [np.asarray(source.labels) + offset for source, offset in zip(self.sources, offsets, strict=True)]
            self.labels = np.concatenate(parts)
            if identity_map:
                new_C = read_identity_map(identity_map, self.sources)
                self.labels, self.num_classes = new_C[self.labels], int(new_C.max()) + 1
        self.joined = one_numbering or bool(identity_map)
        self.formats = FILE_FORMATS if any(hasattr(source, "formats") for source in self.sources) else FORMATS
        self.left_out = Accounting(Path(self.path), len(self))
        for source in self.sources:
            for reason, names in source.left_out.left_out.items():
                self.left_out.leave_out(reason, *(f"{source.path}: {name}" for name in names))

    def __len__(self) -> int:
        return int(self.starts_S[-1])

    def _at(self, row: int) -> tuple[Any, int]:
        """The source of a row, and the row in it."""
        number = int(np.searchsorted(self.starts_S, row, "right")) - 1
        return self.sources[number], int(row - self.starts_S[number])

    def payload(self, row: int) -> bytes:
        """The undecoded image file of a row."""
        source, own = self._at(row)
        return source.payload(own)

    def where(self, row: int) -> str:
        """The file, or the record file and key, of a row."""
        source, own = self._at(row)
        return source.where(own)

    def fingerprint(self) -> str:
        """Of the sources' fingerprints, and of the labels where they are not each source's own."""
        return joined_print(source_prints(self), np.asarray(self.labels, "<i8").tobytes() if self.joined else b"")


def joined_print(prints: Sequence[str], labels: bytes = b"") -> str:
    """The fingerprint of several sets. Of one, the fingerprint that older versions gave rec=("a",), which is rec="a" today."""
    return hashlib.sha256("\n".join(prints).encode() + labels).hexdigest()


class Source(NamedTuple):
    """A source of which only the fingerprint is known; `source_prints` reads it, and a bank grows by further ones."""

    digest: str

    def fingerprint(self) -> str:
        return self.digest


def source_prints(records: Any) -> list[str]:
    """The fingerprint of each source of a training set; of a set that is one, its own."""
    return [source.fingerprint() for source in getattr(records, "sources", [records])]


def read_identity_map(path: str, sources: Sequence[Any]) -> np.ndarray:
    """The joint label of each label of all sources, int (C,), numbered by first appearance.

    Each line is `source,label,identity`: the index of the source in `rec`, from 0; its label, or in a folder of images the name
    of the subfolder; and any text. Labels with the same text are one identity; those not listed stay as they are. Raises
    ValueError naming the line that fits no source or label, or gives a label another identity than a line before.
    """
    named: dict[tuple[int, int], str] = {}
    line_of: dict[tuple[int, int], int] = {}
    for number, row in read_rows(path):
        if row[0].startswith("#"):
            continue
        try:
            index, label, identity = (part.strip() for part in row)
            if not identity:
                raise ValueError(row)
            key = (index_of(index, len(sources)), label_of(label, sources[int(index)]))
        except ValueError as error:
            raise ValueError(
                f"{path} line {number}: found {row}; a line is source,label,identity, with a source from 0 to "
                f"{len(sources) - 1} and one of its labels, or names of subfolders"
            ) from error
        if named.setdefault(key, identity) != identity:
            raise ValueError(
                f"{path} line {number}: label {label} of source {index} is {identity}, and {named[key]} in line {line_of[key]}; "
                "give all labels of an identity one text"
            )
        line_of.setdefault(key, number)
    numbers: dict[Any, int] = {}
    both = ((index, label) for index, source in enumerate(sources) for label in range(source.num_classes))
    return np.array([numbers.setdefault(named.get(key, key), len(numbers)) for key in both])


def label_of(text: str, source: Any) -> int:
    """The label that a subfolder's name or a number stands for. Raises ValueError for other text.

    Where subfolders are named by numbers, only names count: 45 would be the 46th of them, and not 0000045.
    """
    names = getattr(source, "names", [])
    if text in names:
        return names.index(text)
    if any(name.isdecimal() for name in names):
        raise ValueError(text)
    return index_of(text, source.num_classes)


def index_of(text: str, count: int) -> int:
    """A number from 0 to count - 1. Raises ValueError for other text."""
    if not text.isdecimal() or int(text) >= count:
        raise ValueError(text)
    return int(text)


def open_shards(folder: Path) -> JoinedRecords | None:
    """The shards train_0.rec, train_1.rec ... of im2rec --chunks as one set, which share their labels; None without any.

    Raises ValueError where a shard is missing.
    """
    found = {int(match[1]): file for file in folder.glob("train_*.rec") if (match := SHARD.fullmatch(file.name))}
    if not found:
        return None
    missing = sorted(set(range(max(found) + 1)) - found.keys())
    if missing:
        raise ValueError(
            f"{folder} holds {len(found)} shards up to train_{max(found)}.rec, but no train_{missing[0]}.rec; copy the missing "
            "ones, or name those to train on: rec=('DIR/train_0.rec', ...)"
        )
    return JoinedRecords([FaceRecords(found[number]) for number in sorted(found)], one_numbering=True)
