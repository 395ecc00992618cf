"""Find the unreadable images of a training set, and leave them out up to a stated share (`skip_bad`)."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from aird_plugin.data.image_files import UNREADABLE, Accounting, first_names
from aird_plugin.data.images import FORMATS
from aird_plugin.data.loader import ahead
from aird_plugin.data.records import Records, decode_face, where
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.progress import progress

BLOCK = 256
# Upper limit of decoding threads: more of them wait for the GIL.
DECODERS = 16


class ReadableRecords:
    """A training set without its unreadable images. stored: the whole set; labels keep their numbers. skipped: a count."""

    def __init__(self, stored: Records, unreadable: list[int]):
        self.stored, self.path, self.num_classes = stored, stored.path, stored.num_classes
        self.formats = getattr(stored, "formats", FORMATS)
        self.rows = np.setdiff1d(np.arange(len(stored)), unreadable)
        self.labels = np.asarray(stored.labels)[self.rows]
        self.skipped = len(unreadable)
        walk = getattr(stored, "left_out", None)
        self.left_out = Accounting(Path(stored.path), len(self.rows), dict(walk.left_out) if walk else {})
        self.left_out.leave_out(UNREADABLE, *(self._short(row) for row in unreadable))

    def _short(self, row: int) -> str:
        return where(self.stored, row).removeprefix(str(self.path)).lstrip("/ ")

    def __len__(self) -> int:
        return len(self.rows)

    def payload(self, row: int) -> bytes:
        """The undecoded image file of a row."""
        return self.stored.payload(int(self.rows[row]))

    def where(self, row: int) -> str:
        """The file, or the record file and key, of a row."""
        return where(self.stored, int(self.rows[row]))

    def fingerprint(self) -> str:
        """Of the whole set and the rows that are taken."""
        return hashlib.sha256(self.stored.fingerprint().encode() + self.rows.astype("<i8").tobytes()).hexdigest()


def skip_unreadable(records: Records, share: float, folder: str | Path) -> Records:
    """The set without its unreadable images, at most `share` of all; the set itself where all are readable, or `share` is 0.

    All images are decoded once; the result is kept in `folder`. Raises ValueError naming the first images where they are more.
    """
    if not share:
        return records
    file = Path(folder) / f"unreadable-{records.fingerprint()[:12]}.json"
    try:
        reasons = json.loads(file.read_text())
    except (OSError, ValueError):
        reasons = {str(row): why for row, why in unreadable_images(records)}
        write_atomically(file, json.dumps(reasons, indent=1).encode())
    if len(reasons) > share * len(records):
        raise ValueError(
            f"{len(reasons)} of {len(records)} images of {records.path} cannot be read, more than skip_bad={share:g} allows "
            f"({int(share * len(records))}): {first_names(reasons.values())}; mend them, or set a larger skip_bad"
        )
    return ReadableRecords(records, [int(row) for row in reasons]) if reasons else records


def unreadable_images(records: Records) -> Iterator[tuple[int, str]]:
    """(row, why) of every image that does not decode to 112x112, under a progress bar. Threads decode: they release the GIL."""
    blocks = [range(start, min(start + BLOCK, len(records))) for start in range(0, len(records), BLOCK)]

    def problem(row: int) -> str | None:
        try:
            decode_face(records, row)
        except ValueError as error:
            return str(error)
        return None

    with (
        ThreadPoolExecutor(min(torch.get_num_threads(), DECODERS)) as pool,
        closing(ahead(lambda rows: list(pool.map(problem, rows)), blocks)) as checked,
    ):
        steps = progress(blocks, len(records), "decoding every image", "images")
        for rows, problems in zip(steps, checked, strict=True):
            yield from ((row, why) for row, why in zip(rows, problems, strict=True) if why)
