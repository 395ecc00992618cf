"""Checkpoints of a run, in folders that are either complete or absent.

OUTPUT/checkpoints/step_00001234/ holds shared.pt (student, relation networks, their optimizer, the step) and one head_R.pt per
rank (its shard of the class centers and their optimizer). The folder gets its final name when all files are on disk. Shards are
concatenated and split again on loading, so that a run may resume with another number of ranks.
"""

import itertools
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from aird_plugin.utils import distributed
from aird_plugin.utils.files import sync
from aird_plugin.utils.torch_files import safe_torch_load

KEPT = 2
FORMAT = "aird-checkpoint/1"


def save(folder: Path, step: int, shared: dict[str, Any], head: dict[str, Any]) -> Path:
    """Write one checkpoint, keep the last two. Every rank calls it with its own `head`; `shared` is the same on all.

    A failed write (full disk) raises OSError and leaves the checkpoints that were there.
    """
    final = folder / f"step_{step:08d}"
    partial = folder / f".{final.name}.part"
    if distributed.rank() == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    distributed.barrier()
    if distributed.rank() == 0:
        _write(partial / "shared.pt", {"format": FORMAT, "step": step, "ranks": distributed.world_size(), **shared})
    _write(partial / f"head_{distributed.rank()}.pt", head)
    distributed.barrier()
    if distributed.rank() == 0:
        sync(partial)
        # A complete checkpoint of this step holds the same state; a kill between removing and renaming would leave neither.
        if final.exists():
            shutil.rmtree(partial)
        else:
            partial.rename(final)
        sync(folder)
        for old in complete(folder)[:-KEPT]:
            shutil.rmtree(old)
    return final


def load_latest(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """(shared, heads of all ranks in order) of the newest checkpoint, or None where there is none.

    The heads are memory-mapped: those of all ranks together may exceed the memory of one rank.
    Raises ValueError for a damaged file, with the folder to remove.
    """
    found = complete(folder)
    if not found:
        return None
    newest = found[-1]
    try:
        shared: Any = safe_torch_load(newest / "shared.pt")
        ranks, rank = distributed.world_size(), distributed.rank()
        # One rank verifies each head's checksums; the others fail with it.
        heads: list[Any] = [
            safe_torch_load(newest / f"head_{number}.pt", mmap=True, checksums=number % ranks == rank)
            for number in range(shared["ranks"])
        ]
    # torch.load raises a dozen error types on damaged bytes; their texts advise disabling its safety, so they are left out.
    except Exception as error:
        raise ValueError(
            f"checkpoint {newest} cannot be read ({type(error).__name__}: damaged, or not an AIRD checkpoint); "
            "remove that folder to resume from the previous one"
        ) from error
    if shared.get("format") != FORMAT:
        raise ValueError(f"checkpoint {newest} has format {shared.get('format')!r}, this version reads {FORMAT!r}")
    return shared, heads


def cut_head(heads: list[dict[str, Any]], shard: slice) -> dict[str, Any]:
    """This rank's part of the class centers and of their optimizer, from all saved shards; no other part is read.

    The centers may be memory-mapped from the checkpoint: copy them. The optimizer's state is already a copy.
    """
    states = [head["optimizer"]["state"] for head in heads]
    state = {index: {key: _joined([s[index][key] for s in states], shard) for key in states[0][index]} for index in states[0]}
    return {"weight": cut_weight(heads, shard), "optimizer": heads[0]["optimizer"] | {"state": state}}


def cut_weight(heads: list[dict[str, Any]], shard: slice) -> torch.Tensor:
    """This rank's part of the class centers, perhaps memory-mapped."""
    pieces = _pieces([head["weight"] for head in heads], shard)
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _joined(parts: list, shard: slice):
    """Rows of the concatenated shards; a value without rows (a step count) is the same in each."""
    if isinstance(parts[0], torch.Tensor) and parts[0].ndim > 0:
        return torch.cat(_pieces(parts, shard))
    return parts[0]


def _pieces(parts: list[torch.Tensor], shard: slice) -> list[torch.Tensor]:
    """The part of each saved shard that lies within this one."""
    starts = [0, *itertools.accumulate(map(len, parts))]
    return [
        part[max(shard.start - first, 0) : shard.stop - first]
        for first, part in zip(starts, parts, strict=False)
        if first < shard.stop and first + len(part) > shard.start
    ]


def clear(folder: Path) -> None:
    """Remove all checkpoints: the run starts again. Raises OSError where one cannot be removed."""
    if folder.exists():
        shutil.rmtree(folder)


def complete(folder: Path) -> list[Path]:
    """Checkpoints in the folder, oldest first."""
    return sorted(folder.glob("step_*")) if folder.exists() else []


def _write(path: Path, content: dict[str, Any]) -> None:
    with path.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
