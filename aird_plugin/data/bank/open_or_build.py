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
from aird_plugin.data.bank.shared_tasks import builder_lock, wait_for_others


def open_or_build_plan(plan: Plan, config: BankConfig) -> dict[str, Any]:
    """The manifest of the complete cache of a plan, built first where it is missing: a large one in shards, by several processes.

    A cache of the first of several training sets is built on. Raises what `open_or_build` raises.
    """
    folder, inputs, records = plan.folder, plan.inputs, plan.records
    if not is_grown(folder, inputs, records) and (manifest := checked_manifest(folder, inputs)) is not None:
        return manifest
    with bank_lock(folder):
        wait_for_others(folder, inputs["records"])
        grown = is_grown(folder, inputs, records)
        # Another process may have completed it meanwhile, for these images or for others.
        if not grown and (manifest := read_manifest(folder, inputs)) is not None:
            return manifest
        images = shard_images(folder, inputs, len(records), config.bank_shard_images)
        if grown:
            reopen(folder, records)
        if not images:
            return plan.build_whole()
        presence = builder_lock(folder, inputs["records"])
    try:
        build_shards(plan, images)
    finally:
        presence.release()
        Path(presence.lock_file).unlink(missing_ok=True)
    manifest = read_manifest(folder, inputs)
    assert manifest is not None
    return manifest


def open_or_build(folder: Path, inputs: dict[str, Any], build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The manifest of a complete folder, or else of `build`. One process builds while others wait for its lock.

    Raises ValueError if the folder has other inputs (`read_manifest`) or if its files have changed since it was built.
    """
    if (manifest := checked_manifest(folder, inputs)) is not None:
        return manifest
    with bank_lock(folder):
        return read_manifest(folder, inputs) or build()


def checked_manifest(folder: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """`read_manifest`, after a check of the folder's files."""
    manifest = read_manifest(folder, inputs)
    if manifest is not None:
        check_sums(folder, manifest, at_start=True)
    return manifest


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
