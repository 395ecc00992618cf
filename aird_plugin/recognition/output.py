"""What `aird recognise` writes: faces.csv, faces.jsonl, and annotated frames or video."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.images import encode_jpeg
from aird_plugin.recognition.frames import PHOTO, VIDEO, FrameSource
from aird_plugin.recognition.recognise import FaceRow, Recognition
from aird_plugin.utils.files import sync, write_atomically
from aird_plugin.utils.progress import progress

TABLE, LINES, ANNOTATED = "faces.csv", "faces.jsonl", "annotated"
REASONS_SHOWN = 3
# BGR: a name, unknown, no decision.
COLORS = {"name": (80, 200, 60), "unknown": (60, 60, 220), "": (160, 160, 160)}


def write_table(folder: Path, result: Recognition) -> Path:
    """faces.csv: a line for each face of each frame; cosine and threshold are empty where there is none."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FaceRow._fields)
    writer.writerows([_cell(value) for value in row] for row in result.rows)
    write_atomically(folder / TABLE, text.getvalue().encode("utf-8", "surrogateescape"))
    return folder / TABLE


def json_lines(result: Recognition) -> str:
    """One JSON object a face, with the keys of faces.csv and `candidates`, the best identities of its track."""
    rows = (
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row._asdict().items()}
        | {"candidates": result.matches[row.track].candidates}
        for row in result.rows
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_annotated(folder: Path, source: FrameSource, result: Recognition) -> Path:
    """The frames with boxes and names: annotated.jpg of a photo, annotated.mp4 of a video, annotated/ of a folder.

    Raises OSError where OpenCV cannot write a video.
    """
    rows: dict[int, list[FaceRow]] = {}
    for row in result.rows:
        rows.setdefault(row.frame, []).append(row)
    video: Any = None
    partial = folder / f".{ANNOTATED}.part.mp4"
    for frame in progress(source.read(), result.n_frames, "drawing", "frame"):
        if frame.number >= result.n_frames:
            break
        if frame.image_HWC is None:
            continue
        image_HWC = draw(frame.image_HWC, rows.get(frame.number, []))
        if source.kind == VIDEO:
            video = video or _open_video(partial, source.fps, image_HWC)
            video.write(image_HWC)
        else:
            name = f"{ANNOTATED}.jpg" if source.kind == PHOTO else f"{ANNOTATED}/{Path(frame.name).with_suffix('.jpg')}"
            write_atomically(folder / name, encode_jpeg(np.ascontiguousarray(image_HWC[..., ::-1])))
    if video is None:
        return folder / (f"{ANNOTATED}.jpg" if source.kind == PHOTO else ANNOTATED)
    video.release()
    sync(partial)
    return partial.replace(folder / f"{ANNOTATED}.mp4")


def draw(image_HWC: np.ndarray, rows: list[FaceRow]) -> np.ndarray:
    """A copy of a BGR frame with a box and a name, or the track's number, for each face."""
    import cv2

    drawn_HWC = image_HWC.copy()
    thickness = max(1, round(max(image_HWC.shape) / 1000))
    for row in rows:
        color = COLORS.get(row.name, COLORS["name"])
        corner = round(row.x1), round(row.y1)
        cv2.rectangle(drawn_HWC, corner, (round(row.x2), round(row.y2)), color, thickness)
        # OpenCV's own font has no letters beyond ASCII.
        label = (row.name or f"track {row.track}").encode("ascii", "replace").decode()
        place = corner[0], max(12, corner[1] - 4)
        cv2.putText(drawn_HWC, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * thickness, color, thickness, cv2.LINE_AA)
    return drawn_HWC


def summary(result: Recognition) -> str:
    """Counts, and the tracks of each name."""
    broken = f", {len(result.broken)} of them broken and skipped" if result.broken else ""
    lines = [f"{result.n_frames} frames{broken}: {len(result.rows)} faces in {len(result.matches)} tracks"]
    by_name: dict[str, list[int]] = {}
    for track, match in enumerate(result.matches):
        by_name.setdefault(match.name or "no decision", []).append(track)
    for name, tracks in sorted(by_name.items(), key=lambda item: -len(item[1])):
        best = max(result.matches[track].cosine or -1.0 for track in tracks)
        n_faces = sum(result.n_faces[track] for track in tracks)
        lines.append(f"  {name}: {len(tracks)} tracks, {n_faces} faces, highest cosine {best:.3f}")
    shown = [f"no decision: {reason}" for reason in result.reasons[:REASONS_SHOWN]]
    return "\n".join([*lines, *shown, *(["..."] if len(result.reasons) > REASONS_SHOWN else [])])


def broken_frames(result: Recognition) -> str:
    """Why the first broken frames could not be read, a line each, and the number of the others."""
    shown, more = result.broken[:REASONS_SHOWN], len(result.broken) - REASONS_SHOWN
    return "\n".join(f"broken: {reason}" for reason in [*shown, *([f"and {more} more"] if more > 0 else [])])


def _cell(value: Any) -> Any:
    """Cosines with four decimals; nothing for None and nan."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def _open_video(file: Path, fps: float, image_HWC: np.ndarray) -> Any:
    import cv2

    height, width = image_HWC.shape[:2]
    video = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not video.isOpened():
        raise OSError(f"OpenCV cannot write {file} (mp4v); --no-faces writes no video")
    return video
