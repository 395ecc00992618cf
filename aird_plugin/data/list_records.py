"""Training images from a list of paths and labels: im2rec's .lst, or CSV; the same interface as `FaceRecords`."""

import csv
import hashlib
from pathlib import Path

import numpy as np

from aird_plugin.data.image_file_records import ImageFiles
from aird_plugin.data.image_files import Accounting

LIST_SUFFIXES = (".lst", ".csv", ".tsv")
HEADERS = ("path", "image", "file", "filename")


class ListRecords(ImageFiles):
    """The images of a list, in its order.

    .lst: index, label (of several the first), path, separated by tabs; .csv and .tsv: path and label, with or without a header.
    Paths are relative to the list's folder, or absolute. labels: whole numbers as they stand, or else the sorted names numbered.
    Raises ValueError naming the line that has no path and label, or an image that is not there.
    """

    def __init__(self, path: Path):
        self.path = path
        with open(path, newline="", encoding="utf-8") as lines:
            rows = [
                (n, row) for n, row in enumerate(csv.reader(lines, delimiter="," if path.suffix == ".csv" else "\t"), 1) if row
            ]
        if rows and path.suffix != ".lst" and rows[0][1][0].strip().lower() in HEADERS:
            del rows[0]
        self.files: list[Path] = []
        names: list[str] = []
        for number, row in rows:
            fields = [field.strip() for field in row]
            if path.suffix == ".lst":
                fields = [fields[-1], fields[1]] if len(fields) > 2 else []
            if len(fields) < 2 or not all(fields[:2]):
                raise ValueError(f"{path} line {number}: found {row}; a line is {self.line_of(path)}")
            image = path.parent / fields[0]
            if not image.is_file():
                raise ValueError(
                    f"{path} line {number}: no image at {image}; paths are relative to the list's folder, or absolute"
                )
            self.files.append(image)
            names.append(fields[1])
        if not names:
            raise ValueError(f"{path} lists no image; a line is {self.line_of(path)}")
        numbers = whole_numbers(names)
        self.names = [] if numbers else sorted(set(names))
        places = {name: place for place, name in enumerate(self.names)}
        self.labels = np.array(numbers or [places[name] for name in names])
        self.num_classes = int(self.labels.max()) + 1
        self.left_out = Accounting(path, len(self))

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


def whole_numbers(names: list[str]) -> list[int] | None:
    """The names as numbers of 0 or more (im2rec writes 3.000000); None where one is another text."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return None
    whole = all(0 <= number < 1 << 31 and number == int(number) for number in numbers)
    return [int(number) for number in numbers] if whole else None
