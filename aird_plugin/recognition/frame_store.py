"""The faces of every processed frame, in memory and, with an output folder, on disk, so that a rerun resumes by frame.

FOLDER/frames/NNNNNNNN.npz holds the faces of a block of frames, written atomically and named by its first frame: without pickle,
and without any image.
"""

import json
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from aird_plugin.utils.files import write_atomically

BLOCK = 64
PART = "frames"
# Of a Face: what later steps read. Networks are stored by their names and hashes.
NUMBERS = {"bbox": 4, "px": 1, "quality": 1, "det_score": 1}
TEXTS = ("embedded_by", "network_id")


class FrameFaces(NamedTuple):
    """A frame's faces, InsightFace's `Face` objects. broken: the frame could not be read."""

    number: int
    name: str
    broken: bool
    faces: list


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
                self.frames += _read(file)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
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
    arrays = {key: np.array([face[key] for face in faces], np.float32).reshape(len(faces), -1) for key in NUMBERS}
    # A face without an embedding has none of its fields.
    embedded = [face for face in faces if face.embedding is not None]
    arrays["embedding"] = np.array([face.embedding for face in embedded], np.float32)
    listed: list[Any] = [[frame.number, frame.name, frame.broken, len(frame.faces)] for frame in frames]
    texts = [[face[key] for key in TEXTS] if face.embedding is not None else None for face in faces]
    arrays["meta"] = np.frombuffer(json.dumps({"frames": listed, "texts": texts}).encode(), np.uint8)

    def write(target: BinaryIO) -> None:
        np.savez(target, **arrays)

    write_atomically(file, write)


def _read(file: Path) -> list[FrameFaces]:
    from insightface.app.common import Face

    with np.load(file, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in (*NUMBERS, "embedding", "meta")}
    meta = json.loads(arrays["meta"].tobytes())
    embeddings, faces = iter(arrays["embedding"]), []
    for row, texts in enumerate(meta["texts"]):
        face = Face({key: arrays[key][row] if width > 1 else float(arrays[key][row, 0]) for key, width in NUMBERS.items()})
        if texts is not None:
            face.embedding = next(embeddings)
            for key, text in zip(TEXTS, texts, strict=True):
                face[key] = text
        faces.append(face)
    frames, start = [], 0
    for number, name, broken, count in meta["frames"]:
        frames.append(FrameFaces(number, name, broken, faces[start : start + count]))
        start += count
    return frames
