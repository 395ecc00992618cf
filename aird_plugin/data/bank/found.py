"""Open a folder of the bank that is complete, or build it; other processes wait, or build with it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.bank.files import check_sums
from aird_plugin.data.bank.growth import is_grown, reopen
from aird_plugin.data.bank.inputs import read_manifest
from aird_plugin.data.bank.shards import Plan, build_shards, shard_images
from aird_plugin.data.records import Records


def found_or_planned(plan: Plan, config: BankConfig) -> dict[str, Any]:
    """Return the manifest of a complete cache, or build it: in shards together with other processes where it is large.

    Raises what `found_or_built` raises.
    """
    folder, inputs, records = plan.folder, plan.inputs, plan.records
    if not is_grown(folder, inputs, records) and (manifest := read_manifest(folder, inputs)) is not None:
        check_sums(folder, manifest, at_start=True)
        return manifest
    with bank_lock(folder):
        images = shard_images(folder, inputs, len(records), config.bank_shard_images)
        if not images:
            return _kept_or_built(folder, inputs, plan.build_whole, records)
        if is_grown(folder, inputs, records):
            reopen(folder, records)
    build_shards(plan, images)
    manifest = read_manifest(folder, inputs)
    assert manifest is not None
    return manifest


def found_or_built(
    folder: Path, inputs: dict[str, Any], build: Callable[[], dict[str, Any]], records: Records | None = None
) -> dict[str, Any]:
    """Return the manifest of a complete folder, or else of `build`. One process builds while others wait for its lock.

    records: where the folder is of the first of several training sets, it is built on. Raises ValueError if the folder has other
    inputs (`read_manifest`) or if its files have changed since it was built.
    """
    grows = records is not None and is_grown(folder, inputs, records)
    manifest = None if grows else read_manifest(folder, inputs)
    if manifest is not None:
        check_sums(folder, manifest, at_start=True)
        return manifest
    with bank_lock(folder):
        return _kept_or_built(folder, inputs, build, records)


def _kept_or_built(folder: Path, inputs: dict[str, Any], build: Callable[[], dict[str, Any]], records) -> dict[str, Any]:
    """What `found_or_built` does under the folder's lock."""
    if records is not None and is_grown(folder, inputs, records):
        reopen(folder, records)
    return read_manifest(folder, inputs) or build()


@contextmanager
def bank_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of the bank; where another process holds it, say so and wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process builds {folder}; waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
