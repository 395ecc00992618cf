"""The frames with boxes and names: annotated.jpg of a photo, annotated.mp4 of a video, annotated/ of a folder."""

import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from aird_plugin.data.images import encode_jpeg
from aird_plugin.recognition.frames import PHOTO, VIDEO, Frame, FrameSource
from aird_plugin.recognition.recognise import FaceRow, Recognition
from aird_plugin.utils.files import sync, write_atomically
from aird_plugin.utils.progress import progress

FOLDER, IMAGE, VIDEO_FILE, PARTIAL = "annotated", "annotated.jpg", "annotated.mp4", ".annotated.part.mp4"
# BGR: a name, unknown, no decision.
COLORS = {"name": (80, 200, 60), "unknown": (60, 60, 220), "": (160, 160, 160)}
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
# Grey level of the unreadable frames before the first readable one.
GREY = 128


def remove_annotated(folder: Path) -> None:
    """Remove what an earlier run drew: it would contradict the new faces.csv."""
    for name in (IMAGE, VIDEO_FILE, PARTIAL):
        (folder / name).unlink(missing_ok=True)
    if (folder / FOLDER).exists():
        shutil.rmtree(folder / FOLDER)


def write_annotated(folder: Path, source: FrameSource, result: Recognition) -> Path | None:
    """Draw the processed frames. Returns the file or folder, or None where no frame could be drawn.

    Raises OSError where OpenCV cannot write a video. A video is complete or not there.
    """
    rows: dict[int, list[FaceRow]] = {}
    for row in result.rows:
        rows.setdefault(row.frame, []).append(row)
    frames = progress(islice(source.read(), result.n_frames), result.n_frames, "drawing", "frames")
    if source.kind == VIDEO:
        return _write_video(folder, frames, rows, source.fps)
    names, drawn = annotated_names([source.name_of(file) for file in source.files]), False
    for frame in frames:
        if frame.image_HWC is not None:
            image_HWC = draw(frame.image_HWC, rows.get(frame.number, []))
            file = folder / IMAGE if source.kind == PHOTO else folder / FOLDER / names[frame.name]
            write_atomically(file, encode_jpeg(np.ascontiguousarray(image_HWC[..., ::-1])))
            drawn = True
    return folder / (IMAGE if source.kind == PHOTO else FOLDER) if drawn else None


def annotated_names(names: list[str]) -> dict[str, str]:
    """The name of each frame's drawn JPEG: a.png -> a.jpg, or a.png.jpg where another frame could claim a.jpg."""
    stems = {name: PurePosixPath(name).with_suffix("").as_posix() for name in names}
    times = Counter(stems.values())
    # a.png.webp would become a.png.jpg, which may be a.png's.
    taken = times.keys() & set(names)
    return {name: f"{name if times[stem] > 1 or stem in taken else stem}.jpg" for name, stem in stems.items()}


def draw(image_HWC: np.ndarray, rows: list[FaceRow]) -> np.ndarray:
    """A copy of a BGR frame with a box and a name, or the track's number, for each face."""
    import cv2

    drawn_HWC = image_HWC.copy()
    thickness = max(1, round(max(image_HWC.shape) / 1000))
    for row in rows:
        color = COLORS.get(row.name, COLORS["name"])
        corner = round(row.x1), round(row.y1)
        cv2.rectangle(drawn_HWC, corner, (round(row.x2), round(row.y2)), color, thickness)
        # File names may contain line breaks and bytes that are not text. OpenCV below 5 draws non-ASCII characters as ?.
        label = " ".join((row.name or f"track {row.track}").encode("utf-8", "replace").decode().split())
        _write_label(drawn_HWC, label, corner, color, thickness)
    return drawn_HWC


def _write_label(image_HWC: np.ndarray, label: str, corner: tuple[int, int], color: tuple[int, int, int], thickness: int) -> None:
    """Write on a filled rectangle above the corner and within the image: letters alone vanish on busy pictures."""
    import cv2

    font, scale, margin = cv2.FONT_HERSHEY_SIMPLEX, 0.45 * thickness, 3 * thickness
    (width, height), below = cv2.getTextSize(label, font, scale, thickness)
    left = max(0, min(corner[0], image_HWC.shape[1] - 1 - width - 2 * margin))
    bottom = max(corner[1], height + below + 2 * margin)
    cv2.rectangle(image_HWC, (left, bottom - height - below - 2 * margin), (left + width + 2 * margin, bottom), color, cv2.FILLED)
    ink = WHITE if color == COLORS["unknown"] else BLACK
    cv2.putText(image_HWC, label, (left + margin, bottom - below - margin), font, scale, ink, thickness, cv2.LINE_AA)


def _write_video(folder: Path, frames: Iterator[Frame], rows: dict[int, list[FaceRow]], fps: float) -> Path | None:
    """Write annotated.mp4. A frame that cannot be read repeats the one before, so that frames keep their numbers."""
    partial, video, shown_HWC, n_before = folder / PARTIAL, None, None, 0
    try:
        for frame in frames:
            shown_HWC = shown_HWC if frame.image_HWC is None else frame.image_HWC
            if shown_HWC is None:
                n_before += 1
                continue
            if video is None:
                video = _open_video(partial, fps, shown_HWC)
                for _ in range(n_before):
                    video.write(np.full_like(shown_HWC, GREY))
            video.write(draw(shown_HWC, rows.get(frame.number, [])))
        if video is None:
            return None
        video.release()
        sync(partial)
        return partial.replace(folder / VIDEO_FILE)
    finally:
        # Ctrl-C or a full disk: a part of a video with faces must not stay behind under a hidden name.
        if video is not None:
            video.release()
        partial.unlink(missing_ok=True)


def _open_video(file: Path, fps: float, image_HWC: np.ndarray) -> Any:
    import cv2

    height, width = image_HWC.shape[:2]
    video = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not video.isOpened():
        raise OSError(f"OpenCV cannot write {file} (mp4v); --no-faces writes no video")
    return video
