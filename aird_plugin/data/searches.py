"""Data sets of identification as they lie on disk -> who is searched for, and among whom: folders, SCface, a .bin.

People are numbered; below 0 is nobody: a gallery entry of nobody is a distractor, a probe of nobody has no mate.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aird_plugin.data.folder import IMAGE_SUFFIXES
from aird_plugin.data.images import decode
from aird_plugin.data.lowres import to_square
from aird_plugin.data.pairs import first_places, people_of, read_pairs

NOBODY = -1


class Picture(NamedTuple):
    """A picture, read when it is needed. where: the path of its file, or its place in a file whose `payload` it is."""

    where: str
    payload: bytes | None = None


class Search(NamedTuple):
    """Probes and the gallery they are looked up in.

    who: int, a person a picture; a probe whose person is not in the gallery has no mate. track: int, crops of one track
    share a number.
    """

    name: str
    gallery: list[Picture]
    gallery_who: np.ndarray
    probes: list[Picture]
    probe_who: np.ndarray
    probe_track: np.ndarray


def read_square(pictures: list[Picture], side: int) -> np.ndarray:
    """Pictures of any size -> uint8 (N, side, side, 3), RGB.

    By Pillow's bicubic in one step; a picture that is not square is stretched to the square, as TinyFace's and SurvFace's
    users do. Raises ValueError naming the picture that cannot be read, FileNotFoundError for one that is not there.
    """
    faces_NHWC = np.empty((len(pictures), side, side, 3), np.uint8)
    for face_HWC, picture in zip(faces_NHWC, pictures, strict=True):
        face_HWC[:] = to_square(decode(payload_of(picture), picture.where), side)
    return faces_NHWC


def payload_of(picture: Picture) -> bytes:
    """The bytes of a picture's file."""
    return Path(picture.where).read_bytes() if picture.payload is None else picture.payload


def fingerprint(pictures: list[Picture], who_N: np.ndarray) -> str:
    """SHA-256 of what is on the pictures and who, wherever their files lie. Raises FileNotFoundError as `read_square` does."""
    total = hashlib.sha256(np.asarray(who_N, "<i8").tobytes())
    for picture in pictures:
        total.update(hashlib.sha256(payload_of(picture)).digest())
    return total.hexdigest()


def pictures_in(folder: Path) -> list[Picture]:
    """Every picture below a folder, by name. Raises FileNotFoundError and, where there is none, ValueError."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise ValueError(f"{folder} holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return [Picture(str(file)) for file in files]


def with_distractors(search: Search, pictures: list[Picture]) -> Search:
    """The same search in a gallery that also holds pictures of nobody."""
    who = np.concatenate([search.gallery_who, np.full(len(pictures), NOBODY)])
    return search._replace(gallery=search.gallery + pictures, gallery_who=who)


def read_folders(folder: Path) -> list[Search]:
    """`gallery/PERSON/*.jpg`, `probe/PERSON/*.jpg` or `probe/PERSON/TRACK/*.jpg`, and `distractor/` where there is one.

    A probe's person who is not in the gallery is a stranger. Raises FileNotFoundError and ValueError for what is missing.
    """
    enrolled = _people(folder / "gallery")
    numbers = {name: number for number, (name, _) in enumerate(enrolled)}
    gallery, gallery_who = _flat(enrolled, numbers)
    sought = _people(folder / "probe")
    for name, _ in sought:
        numbers.setdefault(name, len(numbers))
    probes, probe_who = _flat(sought, numbers)
    search = Search("", gallery, gallery_who, probes, probe_who, _tracks(probes, folder / "probe"))
    strangers = folder / "distractor"
    return [with_distractors(search, pictures_in(strangers)) if strangers.exists() else search]


def _people(folder: Path) -> list[tuple[str, list[Picture]]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; this layout is gallery/PERSON/*.jpg and probe/PERSON/*.jpg")
    people = [(place.name, pictures_in(place)) for place in sorted(folder.iterdir()) if place.is_dir()]
    if not people:
        raise ValueError(f"{folder} holds no folder; this layout has one folder a person")
    return people


def _flat(people, numbers: dict) -> tuple[list[Picture], np.ndarray]:
    who = np.repeat([numbers[name] for name, _ in people], [len(pictures) for _, pictures in people])
    return [picture for _, pictures in people for picture in pictures], who


def _tracks(probes: list[Picture], folder: Path) -> np.ndarray:
    """PERSON/TRACK/*.jpg is one track, PERSON/*.jpg a track each."""
    places = [Path(picture.where).relative_to(folder).parts for picture in probes]
    return np.unique([str(parts[:-1] if len(parts) > 2 else parts) for parts in places], return_inverse=True)[1]


def read_scface(folder: Path) -> list[Search]:
    """SCface: a search for each distance, 4.2, 2.6 and 1.0 m, five visible-light cameras against the frontal mugshots.

    Pictures go by their names: `NNN_frontal.jpg` in `mugshot_frontal_cropped_all/` or `mugshot_frontal_original_all/`, and
    `NNN_camC_D.jpg`, C from 1 to 5, anywhere below `surveillance_cameras_distance_D/`. The publisher's pictures are no aligned
    faces: crop them first. Raises FileNotFoundError and ValueError for what is missing.
    """
    mugshots = [folder / f"mugshot_frontal_{kind}_all" for kind in ("cropped", "original")]
    place = next((place for place in mugshots if place.is_dir()), mugshots[0])
    gallery, gallery_who = _numbered(place, r"(\d{3})_frontal")
    searches = []
    for distance in (1, 2, 3):
        cameras = folder / f"surveillance_cameras_distance_{distance}"
        probes, probe_who = _numbered(cameras, rf"(\d{{3}})_cam[1-5]_{distance}")
        searches.append(Search(f"distance_{distance}", gallery, gallery_who, probes, probe_who, np.arange(len(probes))))
    return searches


def _numbered(folder: Path, pattern: str) -> tuple[list[Picture], np.ndarray]:
    """Pictures whose name without suffix fits, and the number in it."""
    named = [(picture, re.fullmatch(pattern, Path(picture.where).stem)) for picture in pictures_in(folder)]
    named = [(picture, int(match[1])) for picture, match in named if match]
    if not named:
        raise ValueError(f"{folder} holds no picture named like {pattern}")
    return [picture for picture, _ in named], np.array([number for _, number in named])


def bin_people(path: Path) -> tuple[list[Picture], np.ndarray]:
    """The distinct pictures of a verification file and who they show: see `people_of`.

    Raises what `read_pairs` raises.
    """
    pairs = read_pairs(path)
    face_2N = first_places(pairs.images)
    faces = np.unique(face_2N)
    pictures = [Picture(f"{path}, pair {face // 2}, image {face % 2}", pairs.images[face]) for face in faces.tolist()]
    return pictures, people_of(face_2N, pairs.same)[faces]


def split_people(pictures: list[Picture], who_N: np.ndarray, distractors: bool) -> Search:
    """Gallery: the first picture of each person with two or more; probes: the other ones.

    People of one picture are strangers (probes without a mate) or, with `distractors`, gallery entries of nobody. Raises
    ValueError where nobody has two pictures.
    """
    _, first, person_N, counts = np.unique(who_N, return_index=True, return_inverse=True, return_counts=True)
    alone_N = counts[person_N] == 1
    if alone_N.all():
        raise ValueError("nobody has two different faces, so there is nothing to find")
    enrolled = first[counts > 1]
    sought = np.setdiff1d(np.flatnonzero(~alone_N), enrolled)
    alone = np.flatnonzero(alone_N)
    # Somebody with one picture has no mate, so his own number says what NOBODY says.
    probes = sought if distractors else np.concatenate([sought, alone])
    named = [pictures[row] for row in enrolled]
    search = Search("", named, person_N[enrolled], [pictures[row] for row in probes], person_N[probes], np.arange(len(probes)))
    return with_distractors(search, [pictures[row] for row in alone]) if distractors else search
