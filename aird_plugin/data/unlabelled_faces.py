"""Read a user's unlabelled images, to adapt a student to them: from a folder of any layout, a .bin or a .rec."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE, IMAGE_KINDS
from aird_plugin.data.image_files import UNREADABLE, Accounting, find_images
from aird_plugin.data.images import FILE_FORMATS, FORMATS, decode
from aird_plugin.data.lowres import to_square
from aird_plugin.data.pairs import read_pairs
from aird_plugin.data.records import open_records, where

MIN_IMAGES = 2


class UnlabelledFaces(NamedTuple):
    """images_NHWC: uint8 (N, 112, 112, 3), RGB. accounting: what was left out. stretched: the names of images not square."""

    images_NHWC: np.ndarray
    accounting: Accounting
    stretched: list[str]


class Source(NamedTuple):
    """An image to be read. formats: of Pillow."""

    name: str
    payload: Callable[[], bytes]
    formats: tuple[str, ...]


def read_faces(path: str) -> UnlabelledFaces:
    """Read every image of a folder of any layout, a .bin or a .rec at 112 px.

    The reference resize brings images of another size to 112 px; those that are not square are stretched, as in `aird identify`.
    Unreadable ones are left out. Raises FileNotFoundError, and ValueError with fewer than two readable images.
    """
    sources, accounting = sources_of(Path(path))
    images, stretched = [], []
    for source in sources:
        try:
            image_HWC = decode(source.payload(), source.name, formats=source.formats)
        except (ValueError, OSError):
            accounting.leave_out(UNREADABLE, source.name)
            continue
        if image_HWC.shape[0] != image_HWC.shape[1]:
            stretched.append(source.name)
        images.append(image_HWC if image_HWC.shape[:2] == (FACE_SIDE, FACE_SIDE) else to_square(image_HWC, FACE_SIDE))
    accounting.taken = len(images)
    if len(images) < MIN_IMAGES:
        why = f". {line}" if (line := accounting.line()) else ""
        raise ValueError(f"{path} holds {len(images)} readable image(s) ({IMAGE_KINDS}); statistics need two or more{why}")
    return UnlabelledFaces(np.stack(images), accounting, stretched)


def sources_of(place: Path) -> tuple[list[Source], Accounting]:
    """The images at a place, and what its folder holds besides them. Raises FileNotFoundError for a place that does not exist."""
    if place.suffix == ".bin":
        return list(_of_pairs(place)), Accounting(place)
    if place.suffix == ".rec" or (place / "train.rec").exists():
        return list(_of_records(str(place))), Accounting(place)
    if not place.is_dir():
        raise FileNotFoundError(f"no images at {place}; pass a folder of images, a .bin or a .rec")
    files, accounting = find_images(place)
    return [Source(str(file.relative_to(place)), file.read_bytes, FILE_FORMATS) for file in files], accounting


def _of_pairs(file: Path) -> Iterator[Source]:
    for index, image in enumerate(read_pairs(file).images):
        yield Source(f"pair {index // 2}, image {index % 2}", partial(bytes, image), FORMATS)


def _of_records(path: str) -> Iterator[Source]:
    records = open_records(path)
    for row in range(len(records)):
        yield Source(where(records, row), partial(records.payload, row), FORMATS)
