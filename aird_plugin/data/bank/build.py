"""Build the bank: one pass over the images per cache, resumable after a kill, with only a few blocks in memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from aird_plugin.data.bank.caches import ImageCache, TeacherCache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.bank.derived import CentersAndLists, Labels
from aird_plugin.data.bank.growth import sources_entry
from aird_plugin.data.bank.inputs import PART_FORMAT, image_cache_inputs, teacher_cache_inputs
from aird_plugin.data.bank.open_or_build import open_or_build_plan
from aird_plugin.data.bank.sharded import open_array
from aird_plugin.data.bank.shards import Plan
from aird_plugin.data.blocks import blocks_of, decode_blocks
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, downsample
from aird_plugin.data.records import Records, as_stored, decode_face, where
from aird_plugin.data.views import jitter
from aird_plugin.utils.vectors import normalise

# Inputs of the lists, which one teacher of an ensemble has not.
LISTS_KEYS = ("bank_same", "bank_hard", "bank_searched")
BAD_IMAGE = (
    "`aird doctor RECIPE` lists all such images. Mend or remove it, and the bank is built on from here; or set skip_bad=0.001 to "
    "leave out up to that share of the images"
)


def open_teacher_cache(config: BankConfig, records: Records, teacher, device: str = "cpu") -> TeacherCache:
    """Open the teacher cache, and build it first if it is missing, always with the labels that the records have on disk."""
    records = as_stored(records)
    plan = Plan(
        config.teacher_folder,
        teacher_cache_inputs(config, records.fingerprint(), len(records), teacher.describe()),
        records,
        ("embeddings", (config.views, teacher.dim), np.float16),
        lambda rows: _teacher_blocks(config, records, teacher, rows),
        {"teacher": teacher.describe(), **sources_entry(records)},
        CentersAndLists(config, records, teacher, device),
    )
    return TeacherCache(plan.folder, open_or_build_plan(plan, config))


def _teacher_blocks(config: BankConfig, records, teacher, rows: range) -> Iterator[tuple[range, np.ndarray]]:
    """Yield blocks of rows with the normalised embedding of every view. (rows, V, D). An ensemble's come from its parts."""
    if not hasattr(teacher, "teachers"):
        for block, hr_RJHWC in _jittered_blocks(records, config, rows, "teacher embeddings"):
            yield block, _embed_views(teacher, hr_RJHWC, records, block)
        return
    parts = [open_part(config, records, one) for one in teacher.teachers]
    for block in blocks_of(rows):
        embeddings = [torch.from_numpy(part_NVE[block.start : block.stop].astype(np.float32)) for part_NVE in parts]
        joined_RVD = teacher.joined(embeddings).numpy()
        yield block, normalise(joined_RVD.reshape(-1, teacher.dim)).reshape(joined_RVD.shape)


def open_part(config: BankConfig, records, teacher) -> Any:
    """One teacher's embeddings for an ensemble, float16 (N, V, E), built first if they are missing.

    They stay when the ensemble changes: a further teacher builds only its own.
    """
    inputs = teacher_cache_inputs(config, records.fingerprint(), len(records), teacher.describe())
    inputs = {key: value for key, value in inputs.items() if key not in LISTS_KEYS} | {"format": PART_FORMAT}
    plan = Plan(
        config.part_folder(inputs),
        inputs,
        records,
        ("embeddings", (config.views, teacher.dim), np.float16),
        lambda rows: _teacher_blocks(config, records, teacher, rows),
        {"teacher": teacher.describe(), **sources_entry(records)},
    )
    open_or_build_plan(plan, config)
    return open_array(plan.folder, "embeddings")


def open_image_cache(config: BankConfig, records: Records, px: int, degradation: str = BICUBIC) -> ImageCache:
    """Open the cache of LR images at `px`, and build it first if it is missing, with the labels that the records have on disk."""
    records = as_stored(records)
    jitters = config.views // 2

    def low_blocks(rows: range) -> Iterator[tuple[range, np.ndarray]]:
        for block, hr_RJHWC in _jittered_blocks(records, config, rows, f"LR images at {px} px"):
            low = downsample(hr_RJHWC.reshape(-1, FACE_SIDE, FACE_SIDE, 3), px, degradation)
            yield block, low.reshape(len(block), jitters, px, px, 3)

    plan = Plan(
        config.low_folder(px, degradation),
        image_cache_inputs(config, records.fingerprint(), len(records), px, degradation),
        records,
        ("low", (jitters, px, px, 3), np.uint8),
        low_blocks,
        sources_entry(records),
        Labels(records),
    )
    return ImageCache(plan.folder, open_or_build_plan(plan, config))


def _jittered_blocks(records, config: BankConfig, rows: range, label: str) -> Iterator[tuple[range, np.ndarray]]:
    """Yield blocks of rows with the HR image of every jitter. uint8 (rows, V/2, 112, 112, 3)."""

    def jitters_of(row: int) -> np.ndarray:
        try:
            image_HWC = decode_face(records, row)
        except ValueError as error:
            raise ValueError(f"{error}. {BAD_IMAGE}") from error
        return np.stack([jitter(image_HWC, row, number, config.view_seed) for number in range(config.views // 2)])

    yield from decode_blocks(jitters_of, rows, label, join=lambda images: np.stack(list(images)))


def _embed_views(teacher, hr_RJHWC: np.ndarray, records: Records, rows: range) -> np.ndarray:
    """Embed both flips of every jitter of these rows of the records. (rows, V, D), view = 2 * jitter + flip, normalised."""
    jitters = hr_RJHWC.shape[1]
    both = np.stack([hr_RJHWC, hr_RJHWC[:, :, :, ::-1]], 2)
    embeddings = teacher.embed(np.ascontiguousarray(both.reshape(-1, *hr_RJHWC.shape[2:])))
    if not np.isfinite(embeddings).all():
        index = int(np.flatnonzero(~np.isfinite(embeddings).all(1))[0]) // (2 * jitters)
        raise ValueError(
            f"the teacher's embeddings are not finite, first of {where(records, rows[index])}; check its weights and its input "
            "scaling"
        )
    return normalise(embeddings).reshape(len(rows), 2 * jitters, -1)
