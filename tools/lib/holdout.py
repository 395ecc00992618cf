"""A split of training identities: pairs of the held-out ones for choices, and the training set without them.

N = images of the training set.
"""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np

from aird_plugin.data.images import record_payload
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records, where
from aird_plugin.utils.progress import progress


def split_training_set(
    source: Path, rest: Path, identities: int, seed: int, pairs_of: Callable[[list[list[int]], random.Random], list[tuple]]
) -> tuple[list[bytes], list[bool]]:
    """Write the training set `rest` without `identities` random ones of `source`; return images and genuine flags of theirs.

    Only identities with two or more images are held out; those with one stay in training. pairs_of: rows of each held-out
    identity, and a random generator -> pairs ((identity, row), (identity, row), genuine). The labels of `rest` are numbered anew.
    Raises ValueError where `rest` exists, or where there are not enough identities.
    """
    if rest.exists():
        raise ValueError(f"--rest {rest} exists; name a new folder")
    records = open_records(str(source))
    label_N = np.asarray(records.labels)
    order_N = np.argsort(label_N, kind="stable")
    starts = np.flatnonzero(np.diff(label_N[order_N])) + 1
    # Identities that have images: record files of other tools skip labels.
    rows_of = [rows.tolist() for rows in np.split(order_N, starts)]
    usable = [place for place, rows in enumerate(rows_of) if len(rows) > 1]
    if not 0 < identities < len(usable):
        raise ValueError(f"{source} has {len(usable)} identities with two images or more; cannot hold out {identities} of them")
    rng = random.Random(seed)
    held_out = sorted(rng.sample(usable, identities))
    pairs = pairs_of([rows_of[place] for place in held_out], rng)
    out = set(held_out)
    kept = [rows for place, rows in enumerate(rows_of) if place not in out]

    def payload(row: int) -> bytes:
        return record_payload(records.payload(row), where(records, row))

    items = ((label, payload(row)) for label, rows in enumerate(kept) for row in rows)
    total = sum(map(len, kept))
    write_face_records(rest, progress(items, total, "training set", "images"))
    return [payload(row) for *both, _ in pairs for _, row in both], [genuine for *_, genuine in pairs]
