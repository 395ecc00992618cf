"""A folder of photos -> the faces of each identity."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.alignment.crop import template
from aird_plugin.alignment.detections import Detections, ranked
from aird_plugin.data.constants import FACE_SIDE, IMAGE_KINDS
from aird_plugin.data.image_files import UNREADABLE, find_identities
from aird_plugin.data.images import FILE_FORMATS, decode
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.utils.progress import progress

LAYOUT = "FOLDER/IDENTITY/photo.jpg or FOLDER/IDENTITY.jpg"
NO_FACE = "photos without a face"
# Photos whose faces go through a network in one call.
PHOTOS_AT_ONCE = 16


def faces_of_folder(folder: Path, analysis: TinyFaceAnalysis, aligned: bool = False) -> Iterator[tuple[str, list]]:
    """(name, faces with embeddings) of each identity with a usable photo; what was left out is printed to stderr at the end.

    Raises FileNotFoundError for no folder, ValueError for one without photos, two identities of one name, or no face at all.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of photos at {folder}; give {LAYOUT}")
    identities, loose, found = find_identities(folder)
    names = [name for name, _ in identities] + [file.stem for file in loose]
    doubled = sorted(name for name, times in Counter(names).items() if times > 1)
    if doubled:
        raise ValueError(f"{folder} has several identities named {', '.join(doubled[:3])}: rename a folder or a photo")
    if not names:
        left_out = found.line()
        raise ValueError(f"{folder} has no photo ({IMAGE_KINDS}) in {LAYOUT}" + (f". {left_out}" if left_out else ""))
    files = [(name, file) for name, own in identities for file in own] + [(file.stem, file) for file in loose]
    found.taken, usable = 0, 0
    gathered: dict[str, list] = {}
    blocks = [range(start, min(start + PHOTOS_AT_ONCE, len(files))) for start in range(0, len(files), PHOTOS_AT_ONCE)]
    for block in progress(blocks, len(files), "enrolling", "photo"):
        taken: list[tuple[str, np.ndarray, Any]] = []
        for name, file in files[block.start : block.stop]:
            try:
                photo_HWC = np.ascontiguousarray(decode(file.read_bytes(), str(file), True, FILE_FORMATS)[..., ::-1])
            except (ValueError, OSError):
                found.leave_out(UNREADABLE, file.relative_to(folder))
                continue
            face = _aligned_face(photo_HWC) if aligned else main_face(photo_HWC, analysis)
            if face is None:
                found.leave_out(NO_FACE, file.relative_to(folder))
            else:
                taken.append((name, photo_HWC, face))
        analysis.embed([photo for _, photo, _ in taken], [[face] for _, _, face in taken])
        for name, _, face in taken:
            gathered.setdefault(name, []).append(face)
        found.taken += len(taken)
        # An identity's photos lie next to one another: all but the last are complete.
        for name in list(gathered)[:-1]:
            usable += 1
            yield name, gathered.pop(name)
    yield from gathered.items()
    line = found.line()
    if not usable and not gathered:
        raise ValueError(f"no face was found in the photos of {folder}. {line}")
    if line:
        print(line, file=sys.stderr)


def main_face(photo_HWC: np.ndarray, analysis: TinyFaceAnalysis) -> Any:
    """The large and central face of a photo, without embedding; or None."""
    return choose_main(analysis.detect(photo_HWC), photo_HWC)


def choose_main(faces: list, photo_HWC: np.ndarray) -> Any:
    """The large and central face by InsightFace's rule (`alignment.detections.ranked`); None if none is usable."""
    if not faces:
        return None
    height, width = photo_HWC.shape[:2]
    points_F52 = np.array([face.kps for face in faces])
    best = ranked(Detections(points_F52, np.array([face.det_score for face in faces])), width, height)[0]
    if best.problem:
        return None
    return next(face for face in faces if np.array_equal(face.kps, best.points_52))


def _aligned_face(image_HWC: np.ndarray) -> Any:
    """An image that is an aligned crop, as a Face."""
    from insightface.app.common import Face

    height, width = image_HWC.shape[:2]
    if height != width:
        raise ValueError(f"an aligned crop is square, got {width}x{height}; leave out `aligned` to detect faces")
    points_52 = (template() + 0.5) * (width / FACE_SIDE) - 0.5
    return Face(bbox=np.array([0, 0, width, height], np.float32), kps=points_52.astype(np.float32), det_score=1.0)
