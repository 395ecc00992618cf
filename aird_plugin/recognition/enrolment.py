"""A folder of photos -> the faces of each identity."""

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aird_plugin.alignment.crop import template
from aird_plugin.alignment.detections import Detections, ranked
from aird_plugin.data.blocks import blocks_of
from aird_plugin.data.constants import FACE_SIDE, IMAGE_KINDS
from aird_plugin.data.image_files import UNREADABLE, Accounting, find_identities, first_names
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.frames import read_photo
from aird_plugin.recognition.match import UNKNOWN
from aird_plugin.recognition.templates import check_finite
from aird_plugin.utils.counts import counted_identities
from aird_plugin.utils.progress import progress

LAYOUT = "FOLDER/IDENTITY/photo.jpg or FOLDER/IDENTITY.jpg"
NO_FACE, NOT_SQUARE = "photos without a face", "images that are not square, so no aligned crops"
# Photos whose faces go through a network in one call.
PHOTOS_AT_ONCE = 16


class Photos(NamedTuple):
    """The photos of a folder. files: (identity's name, file), those of an identity next to one another. found: accounting."""

    folder: Path
    files: list[tuple[str, Path]]
    found: Accounting


def find_photos(folder: Path, taken: Collection[str] = ()) -> Photos:
    """List the photos of each identity; none is read.

    taken: names that are enrolled already. Raises FileNotFoundError for no folder, ValueError for one without photos, two
    identities of one name, and what `check_names` raises.
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
    try:
        check_names(names, taken)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    files = [(name, file) for name, own in identities for file in own] + [(file.stem, file) for file in loose]
    return Photos(folder, files, found)


def check_names(names: Iterable[Any], taken: Collection[str] = ()) -> None:
    """Raise ValueError for a name that a gallery cannot hold, and for those that are taken."""
    names = list(names)
    for name in names:
        if not isinstance(name, str) or not name.strip() or name == UNKNOWN:
            raise ValueError(f"an identity needs a name, other than {UNKNOWN!r}; got {name!r}")
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"the name {name!a} is not UTF-8, so that no gallery can hold it; rename its folder or photo"
            ) from error
    if doubled := [name for name in names if name in taken]:
        raise ValueError(
            f"enrolled already: {counted_identities(len(doubled))} ({first_names(doubled)}); replace them with --replace "
            "(`replace=True`), or rename the new ones"
        )


def faces_of_photos(photos: Photos, analysis: TinyFaceAnalysis, aligned: bool = False) -> Iterator[tuple[str, list]]:
    """(name, faces with embeddings) of each identity with a usable photo; what was left out is printed to stderr at the end.

    Raises ValueError for no face at all, and naming the photo of an embedding that is not finite.
    """
    files, found, usable = photos.files, photos.found, 0
    found.taken = 0
    gathered: dict[str, list] = {}
    for block in progress(blocks_of(range(len(files)), PHOTOS_AT_ONCE), len(files), "enrolling", "photos"):
        taken = list(_main_faces(files[block.start : block.stop], photos, analysis, aligned))
        analysis.embed([photo for _, _, photo, _ in taken], [[face] for *_, face in taken])
        for name, file, _, face in taken:
            check_finite([face], str(file))
            gathered.setdefault(name, []).append(face)
        found.taken += len(taken)
        # An identity's photos lie next to one another: all but the last are complete.
        for name in list(gathered)[:-1]:
            usable += 1
            yield name, gathered.pop(name)
    yield from gathered.items()
    line = found.line()
    if not usable and not gathered:
        raise ValueError(f"no face was found in the photos of {photos.folder}. {line}")
    if line:
        print(line, file=sys.stderr)


def _main_faces(
    files: list[tuple[str, Path]], photos: Photos, analysis: TinyFaceAnalysis, aligned: bool
) -> Iterator[tuple[str, Path, np.ndarray, Any]]:
    """(name, file, BGR photo, face without embedding) of each file that has one; the others are left out of `photos`."""
    for name, file in files:
        try:
            photo_HWC = read_photo(file, str(file))
        except (ValueError, OSError):
            photos.found.leave_out(UNREADABLE, file.relative_to(photos.folder))
            continue
        face = _aligned_face(photo_HWC) if aligned else main_face(photo_HWC, analysis)
        if face is None:
            photos.found.leave_out(NOT_SQUARE if aligned else NO_FACE, file.relative_to(photos.folder))
        else:
            yield name, file, photo_HWC, face


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
    """An image that is an aligned crop, as a Face; None for one that is not square."""
    from insightface.app.common import Face

    height, width = image_HWC.shape[:2]
    if height != width:
        return None
    points_52 = (template() + 0.5) * (width / FACE_SIDE) - 0.5
    return Face(bbox=np.array([0, 0, width, height], np.float32), kps=points_52.astype(np.float32), det_score=1.0)
