"""Building the bank: one pass over the faces for each half, resumable after a kill, never more than a few blocks in memory."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from aird_plugin.data.ahead import ahead
from aird_plugin.data.bank import BankConfig, LowBank, TeacherBank, low_inputs, read_manifest, teacher_inputs
from aird_plugin.data.bank_files import Build, check_sums, new_array
from aird_plugin.data.degrade import BICUBIC, shrink
from aird_plugin.data.images import decode
from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.data.neighbours import class_means, hard_lists, normalised, same_person_lists
from aird_plugin.data.views import jitter
from aird_plugin.progress import progress

BLOCK = 256
# Threads that decode, at most: more of them wait for Python's lock.
DECODERS = 16


def open_teacher_bank(config: BankConfig, records, teacher, device: str = "cpu") -> TeacherBank:
    """The teacher's half of the bank, built first where it is not there. `records` as `data.faces.open_records` gives."""
    folder = config.teacher_folder
    inputs = teacher_inputs(config, records.fingerprint(), len(records), teacher.describe())

    def built() -> dict[str, Any]:
        """Build it, and give its manifest."""
        arrays = {"embeddings": ((len(records), config.views, teacher.dim), np.float16)}
        build = Build(folder, inputs, arrays)
        for rows, high_RJHWC in _jittered_blocks(records, config, build.rows_done, "teacher embeddings"):
            build.arrays["embeddings"][rows.start : rows.stop] = _embed_views(teacher, high_RJHWC)
            build.advance(rows)
        _write_lists(build, records, teacher, config, device)
        return build.finish({"teacher": teacher.describe()})

    return TeacherBank(folder, found_or_built(folder, inputs, built))


def open_low_bank(config: BankConfig, records, px: int, degradation: str = BICUBIC) -> LowBank:
    """The half of low faces at `px`, built first where it is not there."""
    folder = config.low_folder(px, degradation)
    inputs = low_inputs(config, records.fingerprint(), len(records), px, degradation)

    def built() -> dict[str, Any]:
        """Build it, and give its manifest."""
        jitters = config.views // 2
        build = Build(folder, inputs, {"low": ((len(records), jitters, px, px, 3), np.uint8)})
        for rows, high_RJHWC in _jittered_blocks(records, config, build.rows_done, f"low faces at {px} px"):
            flat = high_RJHWC.reshape(-1, FACE_SIDE, FACE_SIDE, 3)
            low = shrink(flat, px, degradation)
            build.arrays["low"][rows.start : rows.stop] = low.reshape(len(rows), jitters, px, px, 3)
            build.advance(rows)
        build.save("person", records.labels.astype(np.int32))
        return build.finish({})

    return LowBank(folder, found_or_built(folder, inputs, built))


def found_or_built(folder: Path, inputs: dict[str, Any], build: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The folder's manifest; where it was never finished, what `build` gives. Of several processes one builds, the others wait.

    Raises ValueError where the folder was made from other inputs, as `read_manifest`, or has changed since it was made.
    """
    manifest = read_manifest(folder, inputs)
    if manifest is not None:
        check_sums(folder, manifest)
        return manifest
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process builds {folder}: waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        return read_manifest(folder, inputs) or build()
    finally:
        lock.release()


def decode_face(records, row: int) -> np.ndarray:
    """The high face of a row. uint8 (112, 112, 3). ValueError naming the record where it is of another size or unreadable."""
    face_HWC = decode(records.payload(row), f"face {row} of {records.path}")
    if face_HWC.shape != (FACE_SIDE, FACE_SIDE, 3):
        raise ValueError(
            f"face {row} of {records.path} is {face_HWC.shape[1]}x{face_HWC.shape[0]}, but training needs aligned "
            f"{FACE_SIDE}x{FACE_SIDE} faces; make the records again with tools/make_rec.py"
        )
    return face_HWC


def _jittered_blocks(records, config: BankConfig, first: int, label: str) -> Iterator[tuple[range, np.ndarray]]:
    """Blocks of rows with the high face of every jitter. uint8 (rows, V/2, 112, 112, 3).

    Threads decode, a block or two in front of who uses them: Pillow lets Python's lock go.
    """
    total, jitters = len(records), config.views // 2
    blocks = [range(start, min(start + BLOCK, total)) for start in range(first, total, BLOCK)]

    def views(row: int) -> list[np.ndarray]:
        face_HWC = decode_face(records, row)
        return [jitter(face_HWC, row, number, config.view_seed) for number in range(jitters)]

    def block(rows: range) -> np.ndarray:
        high_RJHWC = np.empty((len(rows), jitters, FACE_SIDE, FACE_SIDE, 3), np.uint8)
        for place, faces_JHWC in enumerate(pool.map(views, rows)):
            high_RJHWC[place] = faces_JHWC
        return high_RJHWC

    with ThreadPoolExecutor(min(torch.get_num_threads(), DECODERS)) as pool, closing(ahead(block, blocks)) as made:
        yield from zip(progress(blocks, total, label, "faces", initial=first), made, strict=True)


def _embed_views(teacher, high_RJHWC: np.ndarray) -> np.ndarray:
    """Both flips of every jitter through the teacher. (rows, V, D), view = 2 * jitter + flip, normalised."""
    rows, jitters = high_RJHWC.shape[:2]
    both = np.stack([high_RJHWC, high_RJHWC[:, :, :, ::-1]], 2)
    embeddings = teacher.embed(np.ascontiguousarray(both.reshape(-1, *high_RJHWC.shape[2:])))
    if not np.isfinite(embeddings).all():
        raise ValueError("the teacher gives embeddings that are not finite; its weights or its input scaling are wrong")
    return normalised(embeddings).reshape(rows, 2 * jitters, -1)


def _write_lists(build: "Build", records, teacher, config: BankConfig, device: str) -> None:
    """Centres and lists, from the mean over each face's views."""
    person_N = records.labels
    embeddings_NVD = build.arrays["embeddings"]
    scratch = build.folder / "mean.npy"
    mean_ND = new_array(scratch, (len(person_N), teacher.dim), np.float32)
    for start in range(0, len(person_N), BLOCK):
        rows = slice(start, start + BLOCK)
        mean_ND[rows] = normalised(embeddings_NVD[rows].astype(np.float32).mean(1))
    centres_CD = _centres(teacher, mean_ND, person_N, records.num_classes)
    build.save("centres", centres_CD)
    build.save("person", person_N.astype(np.int32))
    build.save("same", same_person_lists(mean_ND, person_N, config.bank_same))
    build.save("hard", hard_lists(mean_ND, person_N, config.bank_hard, device))
    scratch.unlink()


def _centres(teacher, mean_ND, person_N, num_people: int) -> np.ndarray:
    """The checkpoint's own head where it was trained on as many people, else class means."""
    own = teacher.classifier
    if own is not None and own.shape == (num_people, mean_ND.shape[1]):
        return normalised(own).astype(np.float32)
    return class_means(mean_ND, person_N, num_people)
