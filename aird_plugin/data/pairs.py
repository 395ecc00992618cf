"""InsightFace's verification files (`.bin`): a pickle of 2N images and N flags, read without running it."""

import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aird_plugin.data.images import decode, resized
from aird_plugin.data.inertpickle import InertArray, load_inert
from aird_plugin.files import write_atomically

FACE_SIDE = 112


class Pairs(NamedTuple):
    """N pairs. images: 2N image files, pair i is images[2i] and images[2i+1]; same: bool (N,)."""

    images: list[bytes]
    same: np.ndarray


def read_pairs(path) -> Pairs:
    """Read a `.bin` of any origin (Python 2 or 3; bytes, bytearrays, uint8 arrays) without running it.

    Raises FileNotFoundError, and ValueError for a file that asks for code, is cut short, or is no list of
    pairs.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no pairs file at {path}; give the path of an InsightFace .bin")
    try:
        images, same = _two_lists(load_inert(path.read_bytes()))
        return Pairs(_files(images), same)
    except ValueError as error:
        raise ValueError(
            f"{path} is no InsightFace pairs file: {error}. Expected a pickle of (images, same), two images "
            "a pair; copy it again, or make one with tools/make_bin.py"
        ) from error


def _two_lists(content) -> tuple[list, np.ndarray]:
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise ValueError(f"it holds a {type(content).__name__}, not two lists")
    images, flags = content
    flags = flags.values().tolist() if isinstance(flags, InertArray) else flags
    if not isinstance(images, list | tuple) or not isinstance(flags, list | tuple):
        raise ValueError(f"it holds a {type(images).__name__} and a {type(flags).__name__}, not two lists")
    if len(images) != 2 * len(flags) or not flags:
        raise ValueError(f"it has {len(images)} images for {len(flags)} flags")
    for place, flag in enumerate(flags):
        if not isinstance(flag, bool | int) or flag not in (0, 1):
            raise ValueError(f"flag {place} is {_brief(flag)}, neither true nor false")
    return images, np.array(flags, bool)


def _files(images) -> list[bytes]:
    """Each element as the bytes of its file: it may be bytes, a bytearray, or a uint8 array (n,) or (n, 1).

    An element that occurs many times is converted once, or a small file could fill the memory.
    """
    known: dict[int, bytes] = {}
    for place, image in enumerate(images):
        if id(image) in known:
            continue
        content = image.file_bytes() if isinstance(image, InertArray) else image
        if not isinstance(content, bytes | bytearray) or not content:
            raise ValueError(f"image {place} (pair {place // 2}) is {_brief(content)}, not bytes of an image file")
        known[id(image)] = bytes(content)
    return [known[id(image)] for image in images]


def _brief(value) -> str:
    """A hostile file may nest a value deeper than repr can go."""
    return f"{value!r:.40}" if isinstance(value, str | bytes | int | float | None) else f"a {type(value).__name__}"


def write_pairs(path, images, same) -> None:
    """Write a `.bin`: plain bytes and bools under pickle protocol 3, which loads everywhere.

    images: 2N encoded images; same: N flags. Raises ValueError where the counts do not fit or an image is
    not bytes. The file appears under its name only when it is whole.
    """
    same = [bool(flag) for flag in same]
    if len(images) != 2 * len(same) or not same:
        raise ValueError(f"got {len(images)} images for {len(same)} flags; a pair has two and one")
    for place, image in enumerate(images):
        if not isinstance(image, bytes) or not image:
            raise ValueError(f"image {place} must be the bytes of an image file, got {_brief(image)}")
    write_atomically(path, lambda file: pickle.dump((list(images), same), file, protocol=3))


def first_places(images: list[bytes]) -> np.ndarray:
    """For each image the place of the first one with the same bytes, int (len(images),)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(image, place) for place, image in enumerate(images)])


def people_of(face_2N: np.ndarray, same_N: np.ndarray) -> np.ndarray:
    """Who is on each face, int (2N,): faces that "same" pairs connect, by however many steps, are one person.

    face_2N: equal numbers are one image (`first_places`). A file lists some of a person's pairs, not all: what no pair connects
    counts as two people, who may be one.
    """
    person_of = joined(np.unique(face_2N).tolist(), face_2N.reshape(-1, 2)[same_N].tolist())
    return np.array([person_of[face] for face in face_2N.tolist()])


def joined(items: list, links: list[tuple]) -> dict:
    """Each item -> the item that stands for all those that links connect (union-find)."""
    parent = {item: item for item in items}

    def root(item):
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    for a, b in links:
        parent[root(b)] = root(a)
    return {item: root(item) for item in items}


def pair_faces(pairs: Pairs) -> np.ndarray:
    """Every face: uint8 (2N, 112, 112, 3), RGB. Raises what `distinct_faces` raises."""
    faces_UHWC, face_2N = distinct_faces(pairs)
    return faces_UHWC[face_2N]


def distinct_faces(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Each picture once, however many pairs it is in: uint8 (U, 112, 112, 3), RGB; and which of them each face is, int (2N,).

    A square picture of another size is resized to 112 px by Pillow's bicubic (upstream's load_bin: cv2's
    bicubic). Raises ValueError naming the pair for a picture that is unreadable or not square.
    """
    place_U, face_2N = np.unique(first_places(pairs.images), return_inverse=True)
    faces_UHWC = np.empty((len(place_U), FACE_SIDE, FACE_SIDE, 3), np.uint8)
    for face_HWC, place in zip(faces_UHWC, place_U.tolist(), strict=True):
        face_HWC[:] = _face(pairs.images[place], place)
    return faces_UHWC, face_2N


def _face(image: bytes, place: int) -> np.ndarray:
    where = f"pair {place // 2}, {'second' if place % 2 else 'first'} image"
    face_HWC = decode(image, where)
    height, width = face_HWC.shape[:2]
    if height != width:
        raise ValueError(f"{where}: {width}x{height} pixels; allowed are squares")
    return face_HWC if width == FACE_SIDE else resized(face_HWC, FACE_SIDE)
