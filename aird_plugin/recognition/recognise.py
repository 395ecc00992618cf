"""Frames -> names: faces of every frame, tracks, one decision a track."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.frame_store import FrameFaces, FrameStore
from aird_plugin.recognition.frames import PHOTO, Frame, FrameSource
from aird_plugin.recognition.gallery import Gallery
from aird_plugin.recognition.match import Match
from aird_plugin.recognition.network import brief
from aird_plugin.recognition.templates import check_finite
from aird_plugin.recognition.tracking import one_each, open_tracker, track_faces
from aird_plugin.utils.progress import progress

# Frames whose faces go through a network in one call.
FRAMES_AT_ONCE = 8


class FaceRow(NamedTuple):
    """One face of one frame, and the decision on its track. frame: number from 0; source: the frame's file, "" in a video.

    x1, y1, x2, y2: box in pixels. px: of this face. network: that embedded it. name: an identity, "unknown", or "" where there
    is no decision. cosine, threshold: of the track's template and the best identity; None where there is none.
    """

    frame: int
    source: str
    track: int
    x1: float
    y1: float
    x2: float
    y2: float
    px: float
    network: str
    name: str
    cosine: float | None
    threshold: float | None


class Recognition(NamedTuple):
    """The result. matches, n_faces: of each track, by its number. broken: why frames could not be read, for each of them."""

    rows: list[FaceRow]
    matches: list[Match]
    n_faces: list[int]
    n_frames: int
    broken: list[str]

    @property
    def reasons(self) -> list[str]:
        """Why tracks have no decision, each reason once."""
        return list(dict.fromkeys(match.reason for match in self.matches if match.name is None))


def collect(source: FrameSource, analysis: TinyFaceAnalysis, store: FrameStore) -> bool:
    """Detect and embed the faces of the frames that the store lacks. False where Ctrl-C stopped it; what is done is stored."""
    done = len(store.frames)
    frames = progress(source.read(done), source.total, "recognising", "frames", initial=done)
    try:
        for block in _blocks(frames):
            for stored in faces_of(block, analysis):
                store.append(stored)
        return True
    except KeyboardInterrupt:
        return False
    finally:
        store.flush()


def faces_of(frames: list[Frame], analysis: TinyFaceAnalysis) -> list[FrameFaces]:
    """The faces of several frames, embedded in one call of each network; a broken frame has none.

    Raises ValueError naming the frame of an embedding that is not finite.
    """
    readable = {frame.number: frame.image_HWC for frame in frames if frame.image_HWC is not None}
    found = dict(zip(readable, analysis.get_many(list(readable.values())), strict=True))
    for one in frames:
        check_finite(found.get(one.number, []), name_of(one))
    return [
        FrameFaces(one.number, one.name, broken=one.image_HWC is None, faces=found.get(one.number, []), reason=one.reason)
        for one in frames
    ]


def decide(store: FrameStore, source: FrameSource, gallery: Gallery, far: float, tracked: bool = True) -> Recognition:
    """Join the stored faces to tracks, and decide on each. tracked: False decides on each face alone, as in a photo."""
    frames = store.frames
    numbers = track_faces(frames, source.fps) if tracked and source.kind != PHOTO else one_each(frames)
    tracks: dict[int, list] = {}
    for frame, own in zip(frames, numbers, strict=True):
        for face, track in zip(frame.faces, own, strict=True):
            tracks.setdefault(track, []).append(face)
    # Numbers are dense and ascend with the first appearance.
    matches = gallery.search([tracks[track] for track in sorted(tracks)], far=far) if tracks else []
    rows = [
        _row(frame, track, face, matches[track])
        for frame, own in zip(frames, numbers, strict=True)
        for face, track in zip(frame.faces, own, strict=True)
    ]
    n_faces = [len(tracks[track]) for track in sorted(tracks)]
    broken = [frame.reason or f"{name_of(frame)}: cannot be read" for frame in frames if frame.broken]
    return Recognition(rows, matches, n_faces, len(frames), broken)


def name_of(frame: Frame | FrameFaces) -> str:
    """The frame's file, or its number in a video, for messages."""
    return frame.name or f"frame {frame.number}"


def check_tracker(source: FrameSource, tracked: bool) -> None:
    """Raise ImportError before any work where the tracker is needed and missing."""
    if tracked and source.kind != PHOTO:
        open_tracker(source.fps)


def settings_of(source: FrameSource, analysis: TinyFaceAnalysis, score: float) -> dict:
    """What two runs that share an output folder must have in common. Gallery, false-accept rate and drawing may change."""
    networks = [f"{network.name} {brief(identity)}" for identity, network in analysis.networks.items()]
    assert analysis.detector is not None
    return source.describe() | {
        "networks": networks,
        "limits": analysis.limits,
        "detector": analysis.detector.describe(),
        "--score": score,
        "--det-size": analysis.det_size and list(analysis.det_size),
    }


def _blocks(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    while block := list(islice(frames, FRAMES_AT_ONCE)):
        yield block


def _row(frame: FrameFaces, track: int, face: Any, match: Match) -> FaceRow:
    x1, y1, x2, y2 = (round(float(side), 1) for side in face.bbox)
    return FaceRow(
        frame.number,
        frame.name,
        track,
        x1,
        y1,
        x2,
        y2,
        round(float(face.px), 1),
        face.embedded_by or "",
        match.name or "",
        match.cosine,
        match.threshold,
    )
