"""InsightFace's verification files (`.bin`): a pickle of 2N images and N flags, parsed without executing it."""

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.images import decode, resized
from aird_plugin.data.safe_pickle import PickledArray, safe_load
from aird_plugin.utils.files import write_atomically


class Pairs(NamedTuple):
    """N pairs. images: 2N image files, pair i is images[2i] and images[2i+1]; same: bool (N,)."""

    images: list[bytes]
    same: np.ndarray


def read_pairs(path: str | Path) -> Pairs:
    """Read a `.bin` of any origin (Python 2 or 3; bytes, bytearrays, uint8 arrays) without executing it.

    Raises FileNotFoundError, and ValueError for a file that references code, is truncated, or is not a list of pairs.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no pairs file at {path}; pass the path of an InsightFace .bin")
    try:
        images, same = _two_lists(safe_load(path.read_bytes()))
        return Pairs(_files(images), same)
    except ValueError as error:
        raise ValueError(
            f"{path} is no InsightFace pairs file: {error}. Expected a pickle of (images, same), two images "
            "per pair; copy it again, or make one with tools/make_bin.py"
        ) from error


def _two_lists(content) -> tuple[list, np.ndarray]:
    """The images and genuine flags of an unpickled .bin. ValueError where it has another structure."""
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise ValueError(f"it holds a {type(content).__name__}, not two lists")
    images, flags = content
    images, flags = (part.elements() if isinstance(part, PickledArray) else part for part in (images, flags))
    if not isinstance(images, list | tuple) or not isinstance(flags, list | tuple):
        raise ValueError(f"it holds a {type(images).__name__} and a {type(flags).__name__}, not two lists")
    if len(images) != 2 * len(flags) or not flags:
        raise ValueError(f"it has {len(images)} images for {len(flags)} flags")
    for index, flag in enumerate(flags):
        if not isinstance(flag, bool | int | float) or flag not in (0, 1):
            raise ValueError(f"flag {index} is {_brief(flag)}, neither true nor false")
    return list(images), np.array(flags, bool)


def _files(images) -> list[bytes]:
    """Convert each element (bytes, a bytearray, or a uint8 array (n,) or (n, 1)) to the bytes of its image file.

    A repeated element is converted once; otherwise a small file could fill the memory.
    """
    known: dict[int, bytes] = {}
    for index, image in enumerate(images):
        if id(image) in known:
            continue
        content = image.file_bytes() if isinstance(image, PickledArray) else image
        if not isinstance(content, bytes | bytearray) or not content:
            raise ValueError(f"image {index} (pair {index // 2}) is {_brief(content)}, not bytes of an image file")
        known[id(image)] = bytes(content)
    return [known[id(image)] for image in images]


def _brief(value) -> str:
    """A short repr; only of plain types, since a hostile file may nest a value deeper than repr can go."""
    return f"{value!r:.40}" if isinstance(value, str | bytes | int | float | None) else f"a {type(value).__name__}"


def write_pairs(path: str | Path, images: Sequence[bytes], same: Iterable[bool]) -> None:
    """Write a `.bin`: plain bytes and bools in pickle protocol 3, which every Python 3 reads.

    images: 2N encoded images; same: N flags. Raises ValueError if the counts do not match or an image is not bytes. The file
    is written atomically.
    """
    same = [bool(flag) for flag in same]
    if len(images) != 2 * len(same) or not same:
        raise ValueError(f"got {len(images)} images for {len(same)} flags; a pair has two images and one flag")
    for index, image in enumerate(images):
        if not isinstance(image, bytes) or not image:
            raise ValueError(f"image {index} must be the bytes of an image file, got {_brief(image)}")
    write_atomically(path, lambda file: pickle.dump((list(images), same), file, protocol=3))


def first_indices(images: list[bytes]) -> np.ndarray:
    """For each image, the index of the first image with the same bytes. int (len(images),)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(image, index) for index, image in enumerate(images)])


def identities_of(face_2N: np.ndarray, same_N: np.ndarray) -> np.ndarray:
    """Assign an identity to each image, int (2N,): the connected components of the "same" pairs.

    face_2N: equal numbers are the same image (`first_indices`). A file lists only some pairs of an identity, so images that no
    pair connects count as two identities even if they are one.
    """
    identity_of = connected_components(np.unique(face_2N).tolist(), face_2N.reshape(-1, 2)[same_N].tolist())
    return np.array([identity_of[face] for face in face_2N.tolist()])


def connected_components(items: list, links: list[tuple]) -> dict:
    """Map each item to the representative of its connected component (union-find)."""
    parent = {item: item for item in items}

    def root(item):
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    for a, b in links:
        parent[root(b)] = root(a)
    return {item: root(item) for item in items}


def pair_faces(pairs: Pairs) -> np.ndarray:
    """Decode all 2N images: uint8 (2N, 112, 112, 3), RGB. Raises as `distinct_faces` does."""
    images_UHWC, face_2N = distinct_faces(pairs)
    return images_UHWC[face_2N]


def distinct_faces(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Decode each distinct image once: uint8 (U, 112, 112, 3), RGB; and the index of each of the 2N images in it, int (2N,).

    Square images of another size are resized to 112 px by Pillow's bicubic (upstream's load_bin: cv2's bicubic). Raises
    ValueError naming the pair for an image that is unreadable or not square.
    """
    images_UHWC, face_2N, _ = sized_faces(pairs)
    return images_UHWC, face_2N


def sized_faces(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `distinct_faces` returns, and the side of each distinct image in the file, in pixels, int (U,). Raises as it does."""
    index_U, face_2N = np.unique(first_indices(pairs.images), return_inverse=True)
    images_UHWC, side_U = np.empty((len(index_U), FACE_SIDE, FACE_SIDE, 3), np.uint8), np.empty(len(index_U), int)
    for number, index in enumerate(index_U.tolist()):
        square_HWC = _decode_square(pairs.images[index], index)
        side_U[number] = len(square_HWC)
        images_UHWC[number] = square_HWC if len(square_HWC) == FACE_SIDE else resized(square_HWC, FACE_SIDE)
    return images_UHWC, face_2N, side_U


def check_images(pairs: Pairs) -> None:
    """Decode each distinct image and forget it. Raises what `distinct_faces` raises."""
    for index in np.unique(first_indices(pairs.images)).tolist():
        _decode_square(pairs.images[index], index)


def _decode_square(image: bytes, index: int) -> np.ndarray:
    """Decode the image at an index of the .bin. ValueError names its pair."""
    where = f"pair {index // 2}, {'second' if index % 2 else 'first'} image"
    image_HWC = decode(image, where)
    height, width = image_HWC.shape[:2]
    if height != width:
        raise ValueError(f"{where}: {width}x{height} pixels; only square images are allowed")
    return image_HWC
