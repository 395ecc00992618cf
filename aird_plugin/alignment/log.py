"""OUT/align.csv: a row for every face of every photo, appended photo by photo; a rerun resumes from it.

OUT/align.json holds the settings, so that one folder never mixes crops of different settings.
"""

import csv
import os
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.text_tables import encoded_rows
from aird_plugin.utils.counts import counted
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.folder_settings import keep_settings
from aird_plugin.utils.json_files import read_object
from aird_plugin.utils.writer_lock import WriterLock

TABLE, SETTINGS = "align.csv", "align.json"
# In the settings, but not compared as they are.
PHOTOS = "photos"
NEWER = {"--pick": "prominent"}
CROPPED, NOT_CHOSEN, TOO_SMALL, NO_FACE = "cropped", "not chosen", "too small", "no face"
BAD_POINTS, UNREADABLE = "bad points", "unreadable"
POINTS = tuple(f"{axis}{number}" for number in range(1, 6) for axis in "xy")


class Row(NamedTuple):
    """A face, or a photo without one (`faces` 0). px and points are in pixels of the photo; empty where there are none."""

    source: str
    face: str
    faces: str
    status: str
    crop: str = ""
    score: str = ""
    px: str = ""
    points: tuple[str, ...] = ("",) * len(POINTS)
    note: str = ""


class AlignmentLog:
    """The table of a folder of crops, as a context manager. done: processed photos; unreadable ones are tried again.

    photos: the folder of photos. Raises ValueError for a folder that holds something else, or crops made with other settings or
    of another folder of photos, or that another process writes.
    """

    def __init__(self, folder: Path, settings: dict, photos: Path | None = None):
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.px = array("d")
        self.photos: dict[str, bool] = {}
        keep_settings(folder, SETTINGS, settings, NEWER, {PHOTOS: str(photos.resolve())} if photos else None)
        if photos:
            check_same_photos(folder, photos)
        self._lock = WriterLock(folder / TABLE)
        write_atomically(folder / TABLE, self._rewrite)

    @property
    def done(self) -> Collection[str]:
        """The processed photos."""
        return self.photos.keys()

    def _rewrite(self, file: BinaryIO) -> None:
        """Write the rows of an earlier run without those of incomplete photos, and count them; row by row."""
        file.write(_encoded([HEADER]))
        for row in _complete_photos(self.folder / TABLE):
            file.write(_encoded([row]))
            self._count(row)

    def __enter__(self) -> "AlignmentLog":
        self.file = (self.folder / TABLE).open("ab")
        return self

    def __exit__(self, *failure) -> None:
        self.file.close()
        self._lock.release()

    def write(self, rows: list[Row]) -> None:
        """Append all rows of one photo, after its crops are written."""
        self.file.write(_encoded(rows))
        self.file.flush()
        for row in rows:
            self._count(row)

    def _count(self, row: Row) -> None:
        self.counts[row.status] += 1
        if row.status == CROPPED:
            self.px.append(float(row.px))
        self.photos[row.source] = self.photos.get(row.source, False) or row.status == CROPPED


def check_same_photos(folder: Path, photos: Path) -> None:
    """Raise ValueError where the crops are of another folder of photos that is still there; one that is not was moved."""
    before = read_object(folder / SETTINGS).get(PHOTOS)
    if before and os.path.isdir(before) and not os.path.samefile(before, photos):
        raise ValueError(
            f"--out {folder} has the crops of {before}, and {photos} is another folder of the same name, whose photos would "
            "count as processed; name another --out, or give the folder above both as FOLDER"
        )


HEADER = Row(*Row._fields[:7], POINTS, "note")


def _complete_photos(file: Path) -> Iterator[Row]:
    """The rows of completely processed photos: a killed run may leave a truncated line, or not all rows of the last photo."""
    n_rows = Counter(row.source for row in _rows_in(file))
    for row in _rows_in(file):
        if row.status != UNREADABLE and n_rows[row.source] == max(1, int(row.faces)):
            yield row


def _rows_in(file: Path) -> Iterator[Row]:
    """The whole rows of a table; none where there is no file."""
    if not file.exists():
        return
    with file.open(encoding="utf-8", errors="surrogateescape", newline="") as text:
        for words in csv.reader(line.replace("\0", "") for line in text):
            if len(words) == len(Row._fields) - 1 + len(POINTS) and words[2].isdecimal():
                yield Row._make([*words[:7], tuple(words[7:-1]), words[-1]])


def _encoded(rows: list[Row]) -> bytes:
    """The rows as CSV."""
    return encoded_rows([*row[:7], *row.points, row.note] for row in rows)


def summary(log: AlignmentLog) -> str:
    """Counts of photos and faces, and quantiles of the faces' px."""
    import numpy as np

    counts, lines = log.counts, []
    without = sum(not cropped for cropped in log.photos.values())
    photos, faces = counted(len(log.photos), "photo"), counted(counts[CROPPED], "face")
    lines.append(f"{photos}: {faces} cropped; {counted(without, 'photo')} without a crop")
    skipped = [
        f"{counts[status]} {status}" for status in (NO_FACE, UNREADABLE, TOO_SMALL, BAD_POINTS, NOT_CHOSEN) if counts[status]
    ]
    if skipped:
        lines.append(f"not cropped: {', '.join(skipped)} (each with its reason in {log.folder / TABLE})")
    if log.px:
        low, median, high = np.percentile(log.px, (5, 50, 95))
        lines.append(
            f"photo pixels per side of a {FACE_SIDE} px crop: median {median:.0f}, 5% below {low:.0f}, 5% above {high:.0f}"
        )
    return "\n".join(lines)
