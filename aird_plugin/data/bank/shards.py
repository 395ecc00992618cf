"""Build a cache of the bank in shards, each by one of the processes that build at the same time.

Shard k holds images k * n to (k + 1) * n in a folder of its own, with a manifest of its own. Each shard is a task that one of the
processes does (`shared_tasks`); that of a process that died goes on where it stopped.

FOLDER/shards.json               the number of images of a shard
       shard-00000/manifest.json the shard's main array is complete
                   lists.json    its lists are complete
       whole.json                labels and class centers are complete
       manifest.json             the cache is complete, with the checksums of all files
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.bank.derived import Derived
from aird_plugin.data.bank.files import OF_THE_RECORDS, STATE, SUMS, Build, saved
from aird_plugin.data.bank.growth import image_sum
from aird_plugin.data.bank.inputs import MANIFEST
from aird_plugin.data.bank.sharded import open_array, shard_name
from aird_plugin.data.bank.shared_tasks import Task, read_result, run_tasks
from aird_plugin.data.blocks import blocks_of
from aird_plugin.data.records import Records
from aird_plugin.utils.files import write_atomically

LAYOUT, WHOLE, LISTS = "shards.json", "whole.json", "lists.json"


@dataclass(frozen=True)
class Plan:
    """How one cache is computed. array: name, shape of a row and dtype of the array that is computed image by image.

    blocks: rows -> blocks of them with their part of the array. metadata: further entries of the manifest.
    """

    folder: Path
    inputs: dict[str, Any]
    records: Records
    array: tuple[str, tuple[int, ...], type]
    blocks: Callable[[range], Iterator[tuple[range, np.ndarray]]]
    metadata: dict[str, Any]
    derived: Derived | None = None

    def fill(self, folder: Path, inputs: dict[str, Any], rows: range) -> Build:
        """Compute the array for these rows in `folder`, from where an earlier build stopped."""
        name, shape, dtype = self.array
        hashed = image_sum(self.records)
        build = Build(folder, inputs, {name: ((len(rows), *shape), dtype)}, lambda row: hashed(rows.start + row))
        for block, values in self.blocks(rows[build.rows_done :]):
            own = range(block.start - rows.start, block.stop - rows.start)
            build.arrays[name][own.start : own.stop] = values
            build.advance(own)
        return build

    def build_whole(self) -> dict[str, Any]:
        """Build the cache with one file for each array; returns its manifest. One process, which holds the folder's lock."""
        rows = range(len(self.records))
        build = self.fill(self.folder, self.inputs, rows)
        if self.derived:
            for name, array in self.derived.whole(self.folder, build.arrays[self.array[0]]).items():
                build.save(name, array)
            for name, array in self.derived.rows(self.folder, rows).items():
                build.save(name, array)
            for name in self.derived.scratch:
                (self.folder / name).unlink(missing_ok=True)
        return build.finish(self.metadata)


def shard_images(folder: Path, inputs: dict[str, Any], total: int, wanted: int) -> int:
    """Images of a shard of the cache in `folder`, 0 for one without shards. An existing or begun cache keeps what it has.

    The caller holds the folder's lock. A begun cache of other inputs than other records is removed.
    """
    lasting = {key: value for key, value in inputs.items() if key not in OF_THE_RECORDS}
    layout = folder / LAYOUT
    if layout.exists():
        found = read_result(layout)
        if found.get("inputs") == lasting or (folder / MANIFEST).exists():
            images = int(found["shard_images"])
            # Of a set that had more images when its build stopped.
            for surplus in sorted(path for path in folder.glob(shard_name("*")) if path.is_dir())[-(-total // images) :]:
                shutil.rmtree(surplus)
            return images
        shutil.rmtree(folder)
    if (folder / MANIFEST).exists() or (folder / STATE).exists() or total <= wanted:
        return 0
    write_atomically(layout, json.dumps({"shard_images": wanted, "inputs": lasting}).encode())
    return wanted


def build_shards(plan: Plan, images: int) -> None:
    """Build what is missing of a cache in shards, together with all processes that do the same; return when it is complete."""
    shards = blocks_of(range(len(plan.records)), images)
    folders = [plan.folder / shard_name(number) for number in range(len(shards))]
    pairs = list(zip(folders, shards, strict=True))
    run_tasks([_array_task(plan, *pair) for pair in pairs])
    if plan.derived:
        derived = plan.derived
        run_tasks(
            [_arrays_task(plan, plan.folder / WHOLE, lambda: derived.whole(plan.folder, open_array(plan.folder, plan.array[0])))]
        )
        if derived.has_rows:
            run_tasks([_arrays_task(plan, own / LISTS, partial(derived.rows, plan.folder, rows)) for own, rows in pairs])
    run_tasks([Task(plan.folder / MANIFEST, plan.inputs, lambda: _complete(plan, folders, images))])


def _array_task(plan: Plan, folder: Path, rows: range) -> Task:
    inputs = plan.inputs | {"first_row": rows.start}

    def work() -> None:
        reopen_shard(folder, inputs)
        plan.fill(folder, inputs, rows).finish({}, keep_sums=True)

    return Task(folder / MANIFEST, inputs, work)


def reopen_shard(folder: Path, inputs: dict[str, Any]) -> None:
    """Make a complete shard of other records one under construction: its images are compared, those before a change are kept."""
    before = read_result(folder / MANIFEST).get("inputs")
    if before and (folder / f"{SUMS}.npy").exists():
        done = len(np.load(folder / f"{SUMS}.npy", mmap_mode="r"))
        write_atomically(folder / STATE, json.dumps({"inputs": before, "rows_done": done}).encode())
    (folder / MANIFEST).unlink(missing_ok=True)


def _arrays_task(plan: Plan, result: Path, compute: Callable[[], dict[str, np.ndarray]]) -> Task:
    def work() -> None:
        sums = saved(result.parent, compute())
        write_atomically(result, json.dumps({"inputs": plan.inputs, "crc32": sums}).encode())

    return Task(result, plan.inputs, work)


def _complete(plan: Plan, folders: list[Path], images: int) -> None:
    """Write the manifest with the checksums of all files, then remove what only the build needed."""
    sums: dict[str, int] = {}
    for folder in folders:
        for name in (MANIFEST, LISTS):
            sums |= {f"{folder.name}/{file}": total for file, total in read_result(folder / name).get("crc32", {}).items()}
    sums |= read_result(plan.folder / WHOLE).get("crc32", {})
    manifest = {"inputs": plan.inputs, **plan.metadata, "shard_images": images, "crc32": sums}
    write_atomically(plan.folder / MANIFEST, json.dumps(manifest, indent=1).encode())
    scratch = [plan.folder / name for name in (plan.derived.scratch if plan.derived else ())]
    for path in [*scratch, *(folder / f"{SUMS}.npy" for folder in folders), *plan.folder.glob("*.lock")]:
        path.unlink(missing_ok=True)
