"""Landmarks from a file: a CSV, or either of CelebA's two landmark lists.

F = faces of a photo.
"""

import csv
import io
from pathlib import Path, PurePosixPath

import numpy as np

from aird_plugin.alignment.detections import Detections
from aird_plugin.utils.files import file_sha256

COLUMNS = 11
LAYOUT = "path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5 (left eye, right eye, nose tip, left and right corner of the mouth, as in the image)"


class Landmarks:
    """The faces of each photo, keyed by the photo's path relative to the folder. A repeated path adds a face.

    Raises FileNotFoundError, and ValueError with the number of a line that has another number of columns, or no finite number.
    """

    def __init__(self, file: str):
        self.file = file
        self.points_F52: dict[str, np.ndarray] = {}
        for number, words in _rows(Path(file)):
            if len(words) != COLUMNS:
                raise ValueError(f"{file} line {number} has {len(words)} columns, expected {COLUMNS}: {LAYOUT}")
            name, points_152 = PurePosixPath(words[0]).as_posix(), _numbers(words[1:], f"{file} line {number}").reshape(1, 5, 2)
            before = self.points_F52.get(name)
            self.points_F52[name] = points_152 if before is None else np.concatenate([before, points_152])
        if not self.points_F52:
            raise ValueError(f"{file} lists no face; expected lines of {LAYOUT}")

    def describe(self) -> str:
        """File name and hash, which must not change between runs."""
        return f"{Path(self.file).name}, sha256 {file_sha256(self.file)[:16]}"

    def find(self, name: str, photo_HWC: np.ndarray) -> Detections:
        """The faces of this photo, without scores; none where the file does not list it."""
        points_F52 = self.points_F52.get(name, np.empty((0, 5, 2)))
        return Detections(points_F52, np.full(len(points_F52), np.nan))


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """(line number, words) of every line with a face: without empty lines, a CSV's header, CelebA's count and header."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}") from error
    lines = text.splitlines()
    if lines and lines[0].strip().isdecimal():
        rows = [(number, line.split()) for number, line in enumerate(lines[2:], 3) if line.strip()]
        if len(rows) != int(lines[0]):
            raise ValueError(f"{file} announces {lines[0].strip()} faces in its first line, but has {len(rows)}: it is truncated")
        return rows
    # Of the text and not of its lines, since a quoted name may contain a line break.
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        # A row ends at the line that an editor shows for it, also behind a name with a line break.
        rows = [(reader.line_num, [word.strip() for word in words]) for words in reader if words]
    except csv.Error as error:
        raise ValueError(f"{file} line {reader.line_num}: {error}") from error
    has_header = rows and rows[0][1][0].lower() in ("path", "name", "image_id", "file", "filename")
    return rows[1:] if has_header else rows


def _numbers(words: list[str], where: str) -> np.ndarray:
    """The words as finite numbers. ValueError begins with `where`."""
    try:
        numbers = np.array([float(word) for word in words])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not np.isfinite(numbers).all():
        raise ValueError(f"{where}: landmarks must be finite numbers, got {', '.join(words)}")
    return numbers
