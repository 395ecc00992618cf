"""OUT/align.csv: a row for every face of every photo, written as the photos are done; by it a rerun goes on.

OUT/align.json says with what settings, so that one folder never holds two kinds of crops.
"""

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from aird_plugin.data.align import SIDE
from aird_plugin.files import write_atomically

TABLE, SETTINGS = "align.csv", "align.json"
CROPPED, NOT_CHOSEN, TOO_SMALL, NO_FACE = "cropped", "not chosen", "too small", "no face"
BAD_POINTS, UNREADABLE = "bad points", "unreadable"
POINTS = tuple(f"{axis}{number}" for number in range(1, 6) for axis in "xy")


class Row(NamedTuple):
    """A face, or a photo that gave none (`faces` 0). px and points in pixels of the photo; empty where there are none."""

    source: str
    face: str
    faces: str
    status: str
    crop: str = ""
    score: str = ""
    px: str = ""
    points: tuple[str, ...] = ("",) * len(POINTS)
    note: str = ""


class Ledger:
    """The table of a folder of crops, as a context manager. done: photos that need no second look; unreadable ones get one.

    Raises ValueError for a folder that holds something else, or crops made with other settings.
    """

    def __init__(self, folder: Path, settings: dict):
        self.folder = folder
        self.counts, self.px = Counter(), []
        self.photos: dict[str, bool] = {}
        _check_settings(folder, settings)
        rows = _whole_photos(folder / TABLE) if (folder / TABLE).exists() else []
        write_atomically(folder / TABLE, lambda file: file.write(_encoded([HEADING, *rows])))
        for row in rows:
            self._count(row)
        self.done = {row.source for row in rows}

    def __enter__(self) -> "Ledger":
        self.file = (self.folder / TABLE).open("ab")
        return self

    def __exit__(self, *failure) -> None:
        self.file.close()

    def write(self, rows: list[Row]) -> None:
        """All rows of one photo, after its crops."""
        self.file.write(_encoded(rows))
        self.file.flush()
        for row in rows:
            self._count(row)

    def _count(self, row: Row) -> None:
        self.counts[row.status] += 1
        if row.status == CROPPED:
            self.px.append(float(row.px))
        self.photos[row.source] = self.photos.get(row.source, False) or row.status == CROPPED


HEADING = Row(*Row._fields[:7], POINTS, "note")


def _check_settings(folder: Path, settings: dict) -> None:
    file = folder / SETTINGS
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"--out {folder} is there already and holds no {SETTINGS} of an earlier run; name another folder")
        write_atomically(file, json.dumps(settings, indent=1).encode())
        return
    try:
        before = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); name another folder") from error
    changed = [f"{key} was {before.get(key)!r}, is {value!r}" for key, value in settings.items() if before.get(key) != value]
    if changed:
        raise ValueError(f"--out {folder} was made otherwise: {'; '.join(changed)}. Go on as before, or name another folder")


def _whole_photos(file: Path) -> list[Row]:
    """The rows of photos that were done: a kill may have cut the last line short, or the last photo's rows."""
    text = file.read_bytes().replace(b"\0", b"").decode("utf-8", "surrogateescape")
    rows = []
    for words in csv.reader(io.StringIO(text, newline="")):
        if len(words) == len(Row._fields) - 1 + len(POINTS) and words[2].isdecimal():
            rows.append(Row(*words[:7], tuple(words[7:-1]), words[-1]))
    there = Counter(row.source for row in rows)
    return [row for row in rows if row.status != UNREADABLE and there[row.source] == max(1, int(row.faces))]


def _encoded(rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([*row[:7], *row.points, row.note] for row in rows)
    # File names are bytes; what is no UTF-8 goes out as it came in.
    return text.getvalue().encode("utf-8", "surrogateescape")


def summary(ledger: Ledger) -> str:
    """What was done, in photos and faces, and how small the faces really were."""
    import numpy as np

    counts, lines = ledger.counts, []
    without = sum(not cropped for cropped in ledger.photos.values())
    lines.append(f"{len(ledger.photos)} photos: {counts[CROPPED]} faces cropped; {without} photos gave none")
    told = [f"{counts[status]} {status}" for status in (NO_FACE, UNREADABLE, TOO_SMALL, BAD_POINTS, NOT_CHOSEN) if counts[status]]
    if told:
        lines.append(f"not cropped: {', '.join(told)} (each with its reason in {ledger.folder / TABLE})")
    if ledger.px:
        low, middle, high = np.percentile(ledger.px, (5, 50, 95))
        lines.append(f"real px a side of these {SIDE} px crops: median {middle:.0f}, 5% below {low:.0f}, 5% above {high:.0f}")
    return "\n".join(lines)
