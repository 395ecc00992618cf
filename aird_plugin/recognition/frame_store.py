"""The faces of every processed frame, in memory and, with an output folder, on disk, so that a rerun resumes by frame.

FOLDER/frames/NNNNNNNN.npz holds the faces of a block of frames, written atomically and named by its first frame: without pickle,
and without any image.
"""

import json
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.npz_files import read_npz

BLOCK = 64
PART = "frames"
# The fields of a Face that later steps read. Networks are stored by name and hash.
NUMBERS = {"bbox": 4, "px": 1, "quality": 1, "det_score": 1}
TEXTS = ("embedded_by", "network_id")


class FrameFaces(NamedTuple):
    """A frame's faces, InsightFace's `Face` objects. broken: the frame could not be read, for `reason` (`frames.Frame`)."""

    number: int
    name: str
    broken: bool
    faces: list
    reason: str = ""


class FrameStore:
    """The processed frames, from 0 on without a gap. folder: where they are kept, or None for memory alone.

    Opening it reads what an earlier run left, up to the first block that is missing or damaged.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder and folder / PART
        self.frames: list[FrameFaces] = []
        self.saved = 0
        while self.folder and (file := self._file(len(self.frames))).is_file():
            try:
                self.frames += read_block(file, len(self.frames))
            except (OSError, ValueError):
                break
        self.saved = len(self.frames)

    def append(self, frame: FrameFaces) -> None:
        """Add the next frame, and write a block when it is complete."""
        assert frame.number == len(self.frames)
        self.frames.append(frame)
        if len(self.frames) - self.saved >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Write the frames of a block that is not complete."""
        if self.folder and len(self.frames) > self.saved:
            _write(self._file(self.saved), self.frames[self.saved :])
        self.saved = len(self.frames)

    def _file(self, first: int) -> Path:
        assert self.folder
        return self.folder / f"{first:08d}.npz"


def _write(file: Path, frames: list[FrameFaces]) -> None:
    faces = [face for frame in frames for face in frame.faces]
    # The width is stated, since a block without a face leaves it open.
    arrays = {key: np.array([face[key] for face in faces], np.float32).reshape(-1, width) for key, width in NUMBERS.items()}
    # A face without an embedding has no network either.
    embedded = [face for face in faces if face.embedding is not None]
    arrays["embedding"] = np.array([face.embedding for face in embedded], np.float32)
    listed: list[Any] = [[frame.number, frame.name, frame.broken, len(frame.faces), frame.reason] for frame in frames]
    texts = [[face[key] for key in TEXTS] if face.embedding is not None else None for face in faces]
    arrays["meta"] = np.frombuffer(json.dumps({"frames": listed, "texts": texts}).encode(), np.uint8)

    def write(target: BinaryIO) -> None:
        np.savez(target, **arrays)

    write_atomically(file, write)


def read_block(file: Path, first: int) -> list[FrameFaces]:
    """The frames of a block that begins with number `first`. Raises OSError, and ValueError for a damaged block."""
    from insightface.app.common import Face

    try:
        arrays = read_npz(file, (*NUMBERS, "embedding", "meta"))
        meta = json.loads(arrays.pop("meta").tobytes())
        _check(arrays, meta, first)
    except OSError:
        raise
    # zipfile, NumPy's header parser and a JSON of another form raise many error types, without a common base class.
    except Exception as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    embeddings, faces = iter(arrays["embedding"]), []
    for row, texts in enumerate(meta["texts"]):
        face = Face({key: arrays[key][row] if width > 1 else float(arrays[key][row, 0]) for key, width in NUMBERS.items()})
        if texts is not None:
            face.embedding = next(embeddings)
            for key, text in zip(TEXTS, texts, strict=True):
                face[key] = text
        faces.append(face)
    frames, start = [], 0
    # Blocks of earlier versions hold no reason.
    for number, name, broken, count, *reason in meta["frames"]:
        frames.append(FrameFaces(number, name, broken, faces[start : start + count], *reason))
        start += count
    return frames


def _check(arrays: dict[str, np.ndarray], meta: dict, first: int) -> None:
    """Raise ValueError where arrays and meta do not belong together."""
    frames, texts = meta["frames"], meta["texts"]
    if not frames or [number for number, *_ in frames] != list(range(first, first + len(frames))):
        raise ValueError(f"its frames do not count from {first}")
    kinds = [list(map(type, frame)) for frame in frames]
    if any(own not in ([int, str, bool, int], [int, str, bool, int, str]) for own in kinds):
        raise ValueError("its list of frames is no such list")
    counts = [frame[3] for frame in frames]
    if min(counts) < 0 or sum(counts) != len(texts):
        raise ValueError("its frames have another number of faces")
    embedded = [own for own in texts if own is not None]
    if not all(len(own) == len(TEXTS) and all(isinstance(text, str) for text in own) for own in embedded):
        raise ValueError("its list of networks is no such list")
    if any(arrays[key].shape != (len(texts), width) for key, width in NUMBERS.items()) or len(arrays["embedding"]) != len(
        embedded
    ):
        raise ValueError("its arrays have other shapes")
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise ValueError("its arrays are not float32")
    if not np.isfinite(arrays["embedding"]).all():
        raise ValueError("its embeddings are not finite")
