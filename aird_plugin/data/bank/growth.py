"""A bank of one training set, or of several, that grows by a further one: rows of the earlier sets are kept."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.bank.files import OF_THE_RECORDS, STATE, SUMS, check_sums, new_array
from aird_plugin.data.bank.inputs import MANIFEST
from aird_plugin.data.bank.sharded import shard_name
from aird_plugin.data.joined_records import joined_print, source_prints
from aird_plugin.data.records import Records
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.json_files import read_object


def image_sum(records: Records) -> Callable[[int], int]:
    """Row -> 64 bits of a hash of its image file; never 0, which stands for a row that is not built."""

    def hashed(row: int) -> int:
        return int.from_bytes(hashlib.blake2b(records.payload(row), digest_size=8).digest(), "little") or 1

    return hashed


def sources_entry(records: Records) -> dict[str, list[str]]:
    """The manifest's entry with the fingerprint of each source; none for a training set that is one."""
    prints = source_prints(records)
    return {"sources": prints} if len(prints) > 1 else {}


def is_grown(folder: Path, inputs: dict[str, Any], records: Records) -> bool:
    """Whether a complete folder has these inputs, but for fewer training sets: the first of those of `records`."""
    try:
        manifest = read_object(folder / MANIFEST)
        before = dict(manifest["inputs"])
        sources = list(manifest.get("sources") or [before["records"]])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    differing = {key for key in before.keys() | inputs.keys() if before.get(key) != inputs.get(key)}
    prints = source_prints(records)
    if sources == [joined_print(prints[:1])]:
        sources = prints[:1]
    return bool(differing) and differing <= OF_THE_RECORDS and len(sources) < len(prints) and prints[: len(sources)] == sources


def reopen(folder: Path, records: Records) -> None:
    """Make a complete folder one that is under construction, with all its rows finished.

    Raises ValueError where its files have changed. A kill leaves the complete folder or the other one.
    """
    manifest = read_object(folder / MANIFEST)
    check_sums(folder, manifest)
    inputs = manifest["inputs"]
    done = int(inputs["num_faces"])
    print(f"{folder}: {done:,} images are kept, {len(records) - done:,} of further training sets are added", file=sys.stderr)
    size = manifest.get("shard_images")
    if size:
        # The shards' own manifests say that they are complete, for the earlier records.
        for number, first in enumerate(range(0, done, size)):
            write_image_sums(folder / shard_name(number), records, range(first, min(first + size, done)))
    else:
        write_image_sums(folder, records, range(done))
        write_atomically(folder / STATE, json.dumps({"inputs": inputs, "rows_done": done}).encode())
    (folder / MANIFEST).unlink()


def write_image_sums(folder: Path, records: Records, rows: range) -> None:
    """Write the checksums of these images, as a build leaves them."""
    sums_R: Any = new_array(folder / f"{SUMS}.npy", (len(rows),), np.uint64)
    hashed = image_sum(records)
    sums_R[:] = [hashed(row) for row in rows]
    sums_R.flush()
