"""The frames of a video, a folder of images, or one photo."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.data.animations import animation_frames, animation_header
from aird_plugin.data.constants import IMAGE_KINDS
from aird_plugin.data.image_files import find_images, is_image_name
from aird_plugin.data.images import FILE_FORMATS, decode

PHOTO, FOLDER, VIDEO = "photo", "folder", "video"
# A video whose reader fails this often in a row has no more frames, whatever its header states.
GIVE_UP_AFTER = 50
# Frame rate of folders, and of videos that do not state theirs; only tracking uses it.
USUAL_FPS = 25.0
# The key of the setting by which a resumed run detects that its input was replaced.
STATS = "names, sizes and times of the input files"


class Frame(NamedTuple):
    """number: from 0. name: its file, "" in a video. image_HWC: uint8 BGR, or None for a frame that cannot be read.

    reason: why it cannot be read, with the name or number.
    """

    number: int
    name: str
    image_HWC: np.ndarray | None
    reason: str = ""


class FrameSource:
    """The frames of `path`, in order; those of a folder in the order of their names (`in_order`).

    kind: photo, folder or video. total: their number, by a video's header; None if unknown.

    An animated GIF, PNG or WebP is a video; in a folder its first frame alone is read.

    Raises FileNotFoundError, ValueError for a folder without images and for a file that is neither image nor video, and what
    reading raises for an unreadable photo.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.fps = USUAL_FPS
        self.files: list[Path] = []
        self.total: int | None
        self.animated = False
        if self.path.is_dir():
            self.kind = FOLDER
            images, found = find_images(self.path)
            self.files = sorted(images, key=lambda file: in_order(self.name_of(file)))
            if not self.files:
                line = found.line()
                raise ValueError(f"{self.path} has no frame ({IMAGE_KINDS})" + (f". {line}" if line else ""))
            self.total = len(self.files)
        elif not self.path.is_file():
            raise FileNotFoundError(f"no video, folder of frames or photo at {self.path}")
        elif is_image_name(self.path.name) and (header := animation_header(self.path)):
            self.kind, self.animated, (self.total, self.fps) = VIDEO, True, header
        elif is_image_name(self.path.name):
            self.kind, self.files, self.total = PHOTO, [self.path], 1
            read_photo(self.path, str(self.path))
        else:
            self.kind = VIDEO
            capture = self._open()
            self.total, self.fps = _header(capture)
            readable = capture.read()[0]
            capture.release()
            if not readable:
                raise ValueError(f"{self.path} is a video without a readable first frame (corrupt or truncated?)")

    def describe(self) -> dict:
        """What must not change between two runs that share an output folder."""
        size, digest = 0, hashlib.sha256()
        for file in self.files or [self.path]:
            stat = file.stat()
            size += stat.st_size
            digest.update(os.fsencode(self.name_of(file)) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        return {"input": self.path.name, "kind": self.kind, "bytes": size, STATS: digest.hexdigest()[:16]}

    def name_of(self, file: Path) -> str:
        """The name of a frame's file, in a folder relative to it."""
        return file.relative_to(self.path).as_posix() if self.kind == FOLDER else file.name

    def read(self, start: int = 0) -> Iterator[Frame]:
        """The frames from number `start` on; an unreadable one has no image."""
        if self.kind != VIDEO:
            for number, file in list(enumerate(self.files))[start:]:
                yield _frame(number, self.name_of(file), file)
            return
        if self.animated:
            yield from self._read_animation(start)
            return
        capture = self._open()
        try:
            yield from self._read_video(capture, start)
        finally:
            capture.release()

    def _read_animation(self, start: int) -> Iterator[Frame]:
        failures = 0
        for number, image_HWC in enumerate(animation_frames(self.path, start), start):
            failures = failures + 1 if isinstance(image_HWC, str) else 0
            if failures > GIVE_UP_AFTER:
                return
            if isinstance(image_HWC, str):
                yield Frame(number, "", None, f"frame {number}: {image_HWC}")
            else:
                yield Frame(number, "", np.ascontiguousarray(image_HWC[..., ::-1]))

    def _read_video(self, capture: Any, start: int) -> Iterator[Frame]:
        """Frames are counted by grabbing each, because seeking in a compressed video may land on another frame."""
        number, failures = 0, 0
        while failures < GIVE_UP_AFTER:
            readable = capture.grab()
            image_HWC = None
            if readable and number >= start:
                readable, image_HWC = capture.retrieve()
            if not readable and (self.total is None or number >= self.total):
                return
            failures = 0 if readable else failures + 1
            if number >= start:
                yield (
                    Frame(number, "", image_HWC)
                    if readable
                    else Frame(number, "", None, f"frame {number}: OpenCV cannot decode it")
                )
            number += 1

    def _open(self) -> Any:
        import cv2

        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise ValueError(f"{self.path} is neither an image ({IMAGE_KINDS}) nor a video that OpenCV can read")
        return capture


def in_order(name: str) -> list[list[str | int]]:
    """A key that sorts names of frames with their numbers as numbers: tracks need frame_2 before frame_10."""
    return [
        [int(part) if number % 2 else part for number, part in enumerate(re.split(r"([0-9]+)", folder))]
        for folder in name.split("/")
    ]


def _header(capture: Any) -> tuple[int | None, float]:
    """(number of frames, frames per second) that a video states; None and the usual rate where it does not."""
    import cv2

    total, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    return int(total) if np.isfinite(total) and total > 0 else None, fps if np.isfinite(fps) and fps > 0 else USUAL_FPS


def _frame(number: int, name: str, file: Path) -> Frame:
    try:
        return Frame(number, name, read_photo(file, name))
    except OSError as error:
        return Frame(number, name, None, f"{name}: {error.strerror or error}")
    except ValueError as error:
        return Frame(number, name, None, " ".join(str(error).split()))


def read_photo(file: Path, where: str) -> np.ndarray:
    """A photo as BGR, uint8 (H, W, 3), upright by its EXIF orientation. Raises OSError, and ValueError beginning with `where`."""
    return np.ascontiguousarray(decode(file.read_bytes(), where, upright=True, formats=FILE_FORMATS)[..., ::-1])
