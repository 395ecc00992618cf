"""Read data sets for 1:N identification: probes and gallery from folders, SCface or a .bin.

Identities are integer labels; a negative label is no identity: such a gallery entry is a distractor, such a probe non-mated.
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aird_plugin.data.constants import IMAGE_KINDS, NO_IDENTITY
from aird_plugin.data.image_files import LOOSE, Accounting, find_identities, find_images
from aird_plugin.data.images import FILE_FORMATS, FORMATS, decode
from aird_plugin.data.lowres import to_square
from aird_plugin.data.pairs import first_indices, identities_of, read_pairs


class ImageFile(NamedTuple):
    """An image file, read on demand. where: its path, or its position in the file that contains the bytes `payload`."""

    where: str
    payload: bytes | None = None


class IdentificationSet(NamedTuple):
    """Probes, and the gallery in which they are searched.

    labels: int, one identity per image; a probe whose identity is not in the gallery is non-mated. track: int, the crops of one
    track share a number. walks: what was taken from each folder, and left out. unreadable: the number of images left out because
    they cannot be read.
    """

    name: str
    gallery: list[ImageFile]
    gallery_labels: np.ndarray
    probes: list[ImageFile]
    probe_labels: np.ndarray
    probe_track: np.ndarray
    walks: tuple[Accounting, ...] = ()
    unreadable: int = 0


def read_square(images: list[ImageFile], side: int) -> np.ndarray:
    """Read images of any size as uint8 (N, side, side, 3), RGB.

    Pillow's bicubic resizes them in one step; a non-square image is stretched to a square, as is usual for TinyFace and
    SurvFace. Raises ValueError naming an unreadable image, FileNotFoundError for a missing one.
    """
    images_NHWC = np.empty((len(images), side, side, 3), np.uint8)
    for image_HWC, image in zip(images_NHWC, images, strict=True):
        formats = FILE_FORMATS if image.payload is None else FORMATS
        image_HWC[:] = to_square(decode(payload_of(image), image.where, formats=formats), side)
    return images_NHWC


def payload_of(image: ImageFile) -> bytes:
    """Return the encoded bytes of an image."""
    return Path(image.where).read_bytes() if image.payload is None else image.payload


def fingerprint(images: list[ImageFile], label_N: np.ndarray) -> str:
    """SHA-256 of the labels and of the image bytes, independent of file paths. Raises FileNotFoundError as `read_square` does."""
    digest = hashlib.sha256(np.asarray(label_N, "<i8").tobytes())
    for image in images:
        digest.update(hashlib.sha256(payload_of(image)).digest())
    return digest.hexdigest()


def images_in(folder: Path) -> tuple[list[ImageFile], Accounting]:
    """List every image below a folder, sorted, and what is left out.

    Raises FileNotFoundError for no folder, ValueError for no images.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    files, accounting = find_images(folder)
    if not files:
        raise ValueError(f"{folder} contains no image ({IMAGE_KINDS})")
    return [ImageFile(str(file)) for file in files], accounting


def with_distractors(
    dataset: IdentificationSet, images: list[ImageFile], accounting: Accounting | None = None
) -> IdentificationSet:
    """Add images of no identity to the gallery. accounting: of the folder that they come from."""
    labels = np.concatenate([dataset.gallery_labels, np.full(len(images), NO_IDENTITY)])
    walks = (*dataset.walks, accounting) if accounting else dataset.walks
    return dataset._replace(gallery=dataset.gallery + images, gallery_labels=labels, walks=walks)


def read_folders(folder: Path) -> list[IdentificationSet]:
    """Read `gallery/IDENTITY/*.jpg`, `probe/IDENTITY/*.jpg` or `probe/IDENTITY/TRACK/*.jpg`, and `distractor/` if present.

    A probe whose identity is not in the gallery is non-mated. Raises FileNotFoundError and ValueError for missing parts.
    """
    enrolled, *walks = _identities(folder / "gallery")
    numbers = {name: number for number, (name, _) in enumerate(enrolled)}
    gallery, gallery_labels = _flat(enrolled, numbers)
    probed, of_probes = _identities(folder / "probe")
    for name, _ in probed:
        numbers.setdefault(name, len(numbers))
    probes, probe_labels = _flat(probed, numbers)
    track = _tracks(probes, folder / "probe")
    dataset = IdentificationSet("", gallery, gallery_labels, probes, probe_labels, track, (*walks, of_probes))
    distractors = folder / "distractor"
    return [with_distractors(dataset, *images_in(distractors)) if distractors.exists() else dataset]


def _identities(folder: Path) -> tuple[list[tuple[str, list[ImageFile]]], Accounting]:
    """(name, images) of each subfolder with images, sorted by name, and what is left out. Errors describe the layout."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; this layout is gallery/IDENTITY/*.jpg and probe/IDENTITY/*.jpg")
    identities, loose, accounting = find_identities(folder, any_depth=True)
    accounting.leave_out(LOOSE, *(file.name for file in loose))
    if not identities:
        line = accounting.line()
        raise ValueError(
            f"{folder} contains no folder with images; this layout has one folder per identity" + (f". {line}" if line else "")
        )
    return [(name, [ImageFile(str(file)) for file in files]) for name, files in identities], accounting


def _flat(identities: list[tuple[str, list[ImageFile]]], numbers: dict[str, int]) -> tuple[list[ImageFile], np.ndarray]:
    """The images of all identities in one list, and their labels (N,). numbers: name -> label."""
    labels = np.repeat([numbers[name] for name, _ in identities], [len(images) for _, images in identities])
    return [image for _, images in identities for image in images], labels


def _tracks(probes: list[ImageFile], folder: Path) -> np.ndarray:
    """Number the tracks: IDENTITY/TRACK/*.jpg is one track, each IDENTITY/*.jpg a track of its own."""
    paths = [Path(image.where).relative_to(folder).parts for image in probes]
    return np.unique([str(parts[:-1] if len(parts) > 2 else parts) for parts in paths], return_inverse=True)[1]


def read_scface(folder: Path) -> list[IdentificationSet]:
    """Read SCface: one set per distance, 4.2, 2.6 and 1.0 m, with probes of five visible-light cameras against frontal mugshots.

    Images are found by name: `NNN_frontal.jpg` in `mugshot_frontal_cropped_all/` or `mugshot_frontal_original_all/`, and
    `NNN_camC_D.jpg`, C from 1 to 5, anywhere below `surveillance_cameras_distance_D/`. The publisher's images are not aligned:
    crop them first. Raises FileNotFoundError and ValueError for missing parts.
    """
    mugshots = [folder / f"mugshot_frontal_{kind}_all" for kind in ("cropped", "original")]
    gallery_folder = next((one for one in mugshots if one.is_dir()), mugshots[0])
    gallery, gallery_labels, *walks = _numbered(gallery_folder, r"(\d{3})_frontal")
    datasets = []
    for distance in (1, 2, 3):
        cameras = folder / f"surveillance_cameras_distance_{distance}"
        probes, probe_labels, of_probes = _numbered(cameras, rf"(\d{{3}})_cam[1-5]_{distance}")
        sides = gallery, gallery_labels, probes, probe_labels, np.arange(len(probes))
        datasets.append(IdentificationSet(f"distance_{distance}", *sides, (*walks, of_probes)))
    return datasets


def _numbered(folder: Path, pattern: str) -> tuple[list[ImageFile], np.ndarray, Accounting]:
    """List the images whose name without suffix matches, the number in it, and what is left out besides other names."""
    images, accounting = images_in(folder)
    matches = [(image, re.fullmatch(pattern, Path(image.where).stem)) for image in images]
    named = [(image, int(match[1])) for image, match in matches if match]
    if not named:
        raise ValueError(f"{folder} contains no image with a name like {pattern}")
    accounting.taken = len(named)
    return [image for image, _ in named], np.array([number for _, number in named]), accounting


def bin_identities(path: Path) -> tuple[list[ImageFile], np.ndarray]:
    """Read the distinct images of a verification file and their identities (`identities_of`). Raises as `read_pairs` does."""
    pairs = read_pairs(path)
    face_2N = first_indices(pairs.images)
    distinct = np.unique(face_2N)
    images = [ImageFile(f"{path}, pair {index // 2}, image {index % 2}", pairs.images[index]) for index in distinct.tolist()]
    return images, identities_of(face_2N, pairs.same)[distinct]


def split_identities(images: list[ImageFile], identity_N: np.ndarray, distractors: bool) -> IdentificationSet:
    """Split images: the gallery holds the first image of each identity with two or more, the probes are its other images.

    Identities with a single image become non-mated probes or, with `distractors`, gallery entries of no identity. Raises
    ValueError if no identity has two images.
    """
    _, first, label_N, counts = np.unique(identity_N, return_index=True, return_inverse=True, return_counts=True)
    single_N = counts[label_N] == 1
    if single_N.all():
        raise ValueError("no identity has two different images, so there are no mated probes; use a file with more same pairs")
    enrolled = first[counts > 1]
    mated = np.setdiff1d(np.flatnonzero(~single_N), enrolled)
    single = np.flatnonzero(single_N)
    # The label of an identity with a single image is not in the gallery, so its probe counts as non-mated.
    probes = mated if distractors else np.concatenate([mated, single])
    gallery = [images[row] for row in enrolled]
    dataset = IdentificationSet(
        "", gallery, label_N[enrolled], [images[row] for row in probes], label_N[probes], np.arange(len(probes))
    )
    return with_distractors(dataset, [images[row] for row in single]) if distractors else dataset
