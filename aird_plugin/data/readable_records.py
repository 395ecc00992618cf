"""Find the unreadable images of a training set, and leave them out up to a stated share (`skip_bad`)."""

import json
from collections.abc import Iterator
from pathlib import Path

from aird_plugin.data.blocks import decode_blocks
from aird_plugin.data.image_files import first_names
from aird_plugin.data.records import ReadableRecords, Records, StoredRecords, decode_face
from aird_plugin.utils.files import write_atomically


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
    """(row, why) of every image that does not decode to 112x112, under a progress bar."""

    def problem(row: int) -> str | None:
        try:
            decode_face(records, row)
        except ValueError as error:
            return str(error)
        return None

    for rows, problems in decode_blocks(problem, range(len(records)), "decoding every image"):
        yield from ((row, why) for row, why in zip(rows, problems, strict=True) if why)
