"""Find the unreadable images of a training set, and leave them out up to a stated share (`skip_bad`)."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import torch

from aird_plugin.data.image_files import first_names
from aird_plugin.data.loader import ahead
from aird_plugin.data.records import ReadableRecords, Records, StoredRecords, decode_face
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.progress import progress

BLOCK = 256
# Upper limit of decoding threads: more of them wait for the GIL.
DECODERS = 16


def skip_unreadable(records: StoredRecords, share: float, folder: str | Path) -> StoredRecords:
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
