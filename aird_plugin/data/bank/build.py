"""Build the bank: one pass over the images per cache, resumable after a kill, with only a few blocks in memory."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from aird_plugin.data.bank.caches import (
    PART_FORMAT,
    BankConfig,
    ImageCache,
    TeacherCache,
    image_cache_inputs,
    open_array,
    read_manifest,
    teacher_cache_inputs,
)
from aird_plugin.data.bank.centers import class_centers
from aird_plugin.data.bank.files import Build, check_sums, new_array
from aird_plugin.data.bank.growth import image_sum, is_grown, reopen, sources_entry
from aird_plugin.data.bank.neighbors import hard_lists, normalised, same_identity_lists
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, downsample
from aird_plugin.data.loader import ahead
from aird_plugin.data.readable_records import BLOCK, DECODERS
from aird_plugin.data.records import Records, as_stored, decode_face, where
from aird_plugin.data.views import jitter
from aird_plugin.utils.progress import progress

BAD_IMAGE = (
    "`aird doctor RECIPE` lists all such images. Mend or remove it, and the bank is built on from here; or set skip_bad=0.001 to "
    "leave out up to that share of the images"
)


def open_teacher_cache(config: BankConfig, records: Records, teacher, device: str = "cpu") -> TeacherCache:
    """Open the teacher cache, and build it first if it is missing, always with the labels that the records have on disk."""
    records = as_stored(records)
    folder = config.teacher_folder
    inputs = teacher_cache_inputs(config, records.fingerprint(), len(records), teacher.describe())

    def build_cache() -> dict[str, Any]:
        arrays = {"embeddings": ((len(records), config.views, teacher.dim), np.float16)}
        build = Build(folder, inputs, arrays, image_sum(records))
        for rows, embeddings_RVD in _teacher_blocks(config, records, teacher, build.rows_done):
            build.arrays["embeddings"][rows.start : rows.stop] = embeddings_RVD
            build.advance(rows)
        _write_lists(build, records, teacher, config, device)
        return build.finish({"teacher": teacher.describe(), **sources_entry(records)})

    return TeacherCache(folder, found_or_built(folder, inputs, build_cache, records))


def _teacher_blocks(config: BankConfig, records, teacher, first: int) -> Iterator[tuple[range, np.ndarray]]:
    """Yield blocks of rows with the normalised embedding of every view. (rows, V, D). An ensemble's come from its parts."""
    if not hasattr(teacher, "teachers"):
        for rows, hr_RJHWC in _jittered_blocks(records, config, first, "teacher embeddings"):
            yield rows, _embed_views(teacher, hr_RJHWC, records, rows)
        return
    parts = [open_part(config, records, one) for one in teacher.teachers]
    for start in range(first, len(records), BLOCK):
        rows = range(start, min(start + BLOCK, len(records)))
        blocks = [torch.from_numpy(part_NVE[rows.start : rows.stop].astype(np.float32)) for part_NVE in parts]
        joined_RVD = teacher.joined(blocks).numpy()
        yield rows, normalised(joined_RVD.reshape(-1, teacher.dim)).reshape(joined_RVD.shape)


def open_part(config: BankConfig, records, teacher) -> np.ndarray:
    """One teacher's embeddings for an ensemble, float16 (N, V, E), built first if they are missing.

    They stay when the ensemble changes: a further teacher builds only its own.
    """
    inputs = teacher_cache_inputs(config, records.fingerprint(), len(records), teacher.describe())
    inputs = {key: value for key, value in inputs.items() if key not in ("bank_same", "bank_hard")} | {"format": PART_FORMAT}
    folder = config.part_folder(inputs)

    def build_cache() -> dict[str, Any]:
        arrays = {"embeddings": ((len(records), config.views, teacher.dim), np.float16)}
        build = Build(folder, inputs, arrays, image_sum(records))
        for rows, embeddings_RVE in _teacher_blocks(config, records, teacher, build.rows_done):
            build.arrays["embeddings"][rows.start : rows.stop] = embeddings_RVE
            build.advance(rows)
        return build.finish({"teacher": teacher.describe(), **sources_entry(records)})

    found_or_built(folder, inputs, build_cache, records)
    return open_array(folder, "embeddings")


def open_image_cache(config: BankConfig, records: Records, px: int, degradation: str = BICUBIC) -> ImageCache:
    """Open the cache of LR images at `px`, and build it first if it is missing, with the labels that the records have on disk."""
    records = as_stored(records)
    folder = config.low_folder(px, degradation)
    inputs = image_cache_inputs(config, records.fingerprint(), len(records), px, degradation)

    def build_cache() -> dict[str, Any]:
        jitters = config.views // 2
        build = Build(folder, inputs, {"low": ((len(records), jitters, px, px, 3), np.uint8)}, image_sum(records))
        for rows, hr_RJHWC in _jittered_blocks(records, config, build.rows_done, f"LR images at {px} px"):
            flat = hr_RJHWC.reshape(-1, FACE_SIDE, FACE_SIDE, 3)
            low = downsample(flat, px, degradation)
            build.arrays["low"][rows.start : rows.stop] = low.reshape(len(rows), jitters, px, px, 3)
            build.advance(rows)
        build.save("person", records.labels.astype(np.int32))
        return build.finish(sources_entry(records))

    return ImageCache(folder, found_or_built(folder, inputs, build_cache, records))


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
        check_sums(folder, manifest)
        return manifest
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process builds {folder}; waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        if records is not None and is_grown(folder, inputs, records):
            reopen(folder, records)
        return read_manifest(folder, inputs) or build()
    finally:
        lock.release()


def _jittered_blocks(records, config: BankConfig, first: int, label: str) -> Iterator[tuple[range, np.ndarray]]:
    """Yield blocks of rows with the HR image of every jitter. uint8 (rows, V/2, 112, 112, 3).

    Threads decode a block or two ahead of the consumer: Pillow releases the GIL.
    """
    total, jitters = len(records), config.views // 2
    blocks = [range(start, min(start + BLOCK, total)) for start in range(first, total, BLOCK)]

    def jitters_of(row: int) -> list[np.ndarray]:
        try:
            image_HWC = decode_face(records, row)
        except ValueError as error:
            raise ValueError(f"{error}. {BAD_IMAGE}") from error
        return [jitter(image_HWC, row, number, config.view_seed) for number in range(jitters)]

    def decode_block(rows: range) -> np.ndarray:
        hr_RJHWC = np.empty((len(rows), jitters, FACE_SIDE, FACE_SIDE, 3), np.uint8)
        for index, images_JHWC in enumerate(pool.map(jitters_of, rows)):
            hr_RJHWC[index] = images_JHWC
        return hr_RJHWC

    with ThreadPoolExecutor(min(torch.get_num_threads(), DECODERS)) as pool, closing(ahead(decode_block, blocks)) as decoded:
        yield from zip(progress(blocks, total, label, "images", initial=first), decoded, strict=True)


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
    return normalised(embeddings).reshape(len(rows), 2 * jitters, -1)


def _write_lists(build: Build, records, teacher, config: BankConfig, device: str) -> None:
    """Write the class centers and the lists, from the mean over each image's views."""
    label_N = records.labels
    embeddings_NVD = build.arrays["embeddings"]
    scratch = build.folder / "mean.npy"
    mean_ND = new_array(scratch, (len(label_N), teacher.dim), np.float32)
    for start in range(0, len(label_N), BLOCK):
        rows = slice(start, start + BLOCK)
        mean_ND[rows] = normalised(embeddings_NVD[rows].astype(np.float32).mean(1))
    build.save("centres", class_centers(teacher, mean_ND, label_N, records.num_classes))
    build.save("person", label_N.astype(np.int32))
    build.save("same", same_identity_lists(mean_ND, label_N, config.bank_same))
    build.save("hard", hard_lists(mean_ND, label_N, config.bank_hard, device))
    scratch.unlink()
