"""Faces of consecutive frames -> tracks, by the library `trackers`.

F = faces of a frame.
"""

from typing import Any

import numpy as np

from aird_plugin.recognition.frame_store import FrameFaces

MISSING = "tracking needs `pip install aird_plugin[video]`; --no-tracks decides on each face alone"
# A small face moves by more than its own width between two frames: overlap is measured between boxes of these sides.
ENLARGED = 2.0
# A track whose face is not detected for this long ends.
LOST_SECONDS = 1.0
MIN_OVERLAP = 0.2
HIGH_SCORE = 0.5


def track_faces(frames: list[FrameFaces], fps: float) -> list[list[int]]:
    """The track of each face of each frame, numbered from 0 by first appearance. A face that joins no track is one of its own.

    ByteTrack (arXiv 2110.06864): a Kalman filter for each box, detections matched by overlap, first those of high and then those
    of low score. Raises ImportError without the extra `video`.
    """
    tracker, detections = open_tracker(fps)
    raw: list[np.ndarray] = []
    readable = [frame for frame in frames if not frame.broken]
    for frame in readable:
        boxes_F4 = enlarged_boxes(frame.faces)
        scores_F = np.array([face.det_score for face in frame.faces], np.float32)
        given = detections(xyxy=boxes_F4, confidence=scores_F, class_id=np.arange(len(boxes_F4)))
        found = tracker.update(given, timestamp=frame.number / fps)
        tracks_F = np.full(len(boxes_F4), -1)
        if len(found):
            tracks_F[found.class_id] = found.tracker_id
        raw.append(tracks_F)
    join_first_faces(readable, raw)
    tracks = iter(numbered(raw))
    return [[] if frame.broken else next(tracks) for frame in frames]


def one_each(frames: list[FrameFaces]) -> list[list[int]]:
    """Every face as a track of its own."""
    return numbered([np.full(len(frame.faces), -1) for frame in frames])


def open_tracker(fps: float) -> tuple[Any, Any]:
    """A ByteTrack tracker, and supervision's class of detections. Raises ImportError that names the extra."""
    try:
        from supervision import Detections
        from trackers import ByteTrackTracker
    except ImportError as error:
        raise ImportError(MISSING) from error
    # Small faces have low scores. Those below HIGH_SCORE, which a lower --score lets through, extend tracks and begin none.
    tracker = ByteTrackTracker(
        lost_track_buffer=round(LOST_SECONDS * 30),
        frame_rate=fps,
        track_activation_threshold=0.0,
        minimum_consecutive_frames=1,
        minimum_iou_threshold=MIN_OVERLAP,
        high_conf_det_threshold=HIGH_SCORE,
    )
    return tracker, Detections


def enlarged_boxes(faces: list) -> np.ndarray:
    """The boxes float32 (F, 4), (x1, y1, x2, y2), with `ENLARGED` times their sides."""
    boxes_F4 = np.array([face.bbox for face in faces], np.float32).reshape(-1, 4)
    margin_F2 = (boxes_F4[:, 2:] - boxes_F4[:, :2]) * (ENLARGED - 1) / 2
    return np.concatenate([boxes_F4[:, :2] - margin_F2, boxes_F4[:, 2:] + margin_F2], 1)


def join_first_faces(frames: list[FrameFaces], raw: list[np.ndarray]) -> None:
    """Give each track the face before its first: the library numbers a track at its second detection. Changes `raw`."""
    seen: set[int] = set()
    for here, (tracks_F, before_F) in enumerate(zip(raw[1:], raw, strict=False), 1):
        starting = [row for row, track in enumerate(tracks_F.tolist()) if track >= 0 and track not in seen]
        seen.update(tracks_F.tolist())
        free = np.flatnonzero(before_F < 0)
        if not starting or not len(free):
            continue
        overlaps = overlap(enlarged_boxes(frames[here].faces)[starting], enlarged_boxes(frames[here - 1].faces)[free])
        while overlaps.size and overlaps.max() >= MIN_OVERLAP:
            row, column = np.unravel_index(overlaps.argmax(), overlaps.shape)
            before_F[free[column]] = tracks_F[starting[row]]
            overlaps[row], overlaps[:, column] = -1, -1


def overlap(one_A4: np.ndarray, other_B4: np.ndarray) -> np.ndarray:
    """Intersection over union of every two boxes, (A, B)."""
    low_AB2 = np.maximum(one_A4[:, None, :2], other_B4[None, :, :2])
    high_AB2 = np.minimum(one_A4[:, None, 2:], other_B4[None, :, 2:])
    shared_AB = (high_AB2 - low_AB2).clip(0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (one_A4, other_B4)]
    return shared_AB / np.maximum(areas[0][:, None] + areas[1] - shared_AB, 1e-9)


def numbered(raw: list[np.ndarray]) -> list[list[int]]:
    """The library's numbers, -1 for none, as numbers from 0 in the order of appearance."""
    known: dict[int, int] = {}
    tracks, count = [], 0
    for tracks_F in raw:
        own = []
        for track in tracks_F.tolist():
            # A face without a track, -1, gets a number of its own.
            number = known.setdefault(track, count) if track >= 0 else count
            own.append(number)
            count = max(count, number + 1)
        tracks.append(own)
    return tracks
