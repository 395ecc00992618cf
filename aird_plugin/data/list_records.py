"""Training images from a list of paths and labels: .lst, or CSV; the same interface as `FaceRecords`."""

import csv
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aird_plugin.data.image_file_records import ImageFiles
from aird_plugin.data.image_files import Accounting
from aird_plugin.data.text_tables import read_rows

LIST_SUFFIXES = (".lst", ".csv", ".tsv")
HEADERS = ("path", "image", "file", "filename")
# Narrower than what Python reads as a number: `1_12` and `11_2` are two names. im2rec writes 3.000000.
NUMBER, LABEL = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?|nan", re.IGNORECASE), re.compile(r"[0-9]+(\.0*)?")


class ListRecords(ImageFiles):
    """The images of a list, in its order.

    .lst of im2rec: index, label (of several the first), path, separated by tabs; .lst of InsightFace: a flag, path, label, and
    whatever follows; .csv and .tsv: path and label, with or without a header. Paths are relative to the list's folder, or
    absolute. labels: whole numbers as they stand, or else the sorted names numbered.
    Raises ValueError naming the line that has no path and label, a negative or broken number among numbers, an image that is not
    there, or one that another line gives to another identity.
    """

    def __init__(self, path: Path):
        self.path = path
        comma, as_it_stands = path.suffix == ".csv", path.suffix == ".lst"
        rows = read_rows(path, "," if comma else "\t", csv.QUOTE_NONE if as_it_stands else csv.QUOTE_MINIMAL)
        if rows and not as_it_stands and rows[0][1][0].strip().lower() in HEADERS:
            del rows[0]
        self.files: list[Path] = []
        names: list[str] = []
        first: dict[Path, tuple[str, int]] = {}
        for number, row in rows:
            image_path, name = self._path_and_label(number, row)
            image = path.parent / image_path
            if not image.is_file():
                raise ValueError(
                    f"{path} line {number}: no image at {image}; paths are relative to the list's folder, or absolute"
                )
            other, line = first.setdefault(image, (name, number))
            if other != name:
                raise ValueError(f"{path} line {number}: {image} is of {name}, and of {other} in line {line}; leave one of them")
            self.files.append(image)
            names.append(name)
        if not names:
            raise ValueError(f"{path} lists no image; a line is {self.line_of(path)}")
        numbers = whole_numbers(names, lambda index: f"{path} line {rows[index][0]}")
        self.names = [] if numbers else sorted(set(names))
        label_of = {name: index for index, name in enumerate(self.names)}
        self.labels = np.array(numbers or [label_of[name] for name in names])
        self.num_classes = int(self.labels.max()) + 1
        self.left_out = Accounting(path, len(self))

    def _path_and_label(self, number: int, row: list[str]) -> tuple[str, str]:
        """The path and the label of a line. ValueError where it has not both."""
        fields = [field.strip() for field in row]
        if self.path.suffix == ".lst":
            is_im2rec = len(fields) > 2 and bool(NUMBER.fullmatch(fields[1]))
            fields = [fields[-1], fields[1]] if is_im2rec else fields[1:3]
        if len(fields) < 2 or not all(fields[:2]):
            raise ValueError(f"{self.path} line {number}: found {row}; a line is {self.line_of(self.path)}")
        return fields[0], fields[1]

    @staticmethod
    def line_of(path: Path) -> str:
        """The form of a line."""
        return "index, label, path with tabs between" if path.suffix == ".lst" else "path and label"

    def digest(self) -> str:
        """SHA-256 over the labels and contents of all files."""
        digest = hashlib.sha256(np.asarray(self.labels, "<i8").tobytes())
        for file in self.files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


def whole_numbers(names: list[str], where: Callable[[int], str]) -> list[int] | None:
    """The names as labels; None where one is another text. ValueError, which begins with `where(index)`, for other numbers."""
    if not all(NUMBER.fullmatch(name) for name in names):
        return None
    for index, name in enumerate(names):
        if not LABEL.fullmatch(name) or int(name.partition(".")[0]) >= 1 << 31:
            raise ValueError(
                f"{where(index)}: label {name} is no whole number from 0 to 2**31 - 1, as the others are; leave out images "
                "without identity"
            )
    return [int(name.partition(".")[0]) for name in names]
