"""Training images from a folder, by identity or without labels; the same interface as `FaceRecords`."""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np

from aird_plugin.data.constants import IMAGE_SUFFIXES, NO_IDENTITY


def identities_in(folder: Path) -> list[tuple[str, list[Path]]]:
    """List (name, image files) of each subfolder that has images, both sorted by name."""
    found = []
    for subfolder in sorted(p for p in Path(folder).iterdir() if p.is_dir()):
        images = images_in(subfolder)
        if images:
            found.append((subfolder.name, images))
    return found


def images_in(folder: Path) -> list[Path]:
    """List the image files directly in a folder, sorted by name."""
    return sorted(p for p in Path(folder).iterdir() if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)


class FolderRecords:
    """FOLDER/IDENTITY/*.jpg, labels in the order of the sorted names; or FOLDER/*.jpg, without labels.

    Without labels, `labels` are all `NO_IDENTITY` and `num_classes` is 0. Raises ValueError if there is no image, or if there are
    images both in the folder and in its subfolders: either the images or the identities would have to be ignored.
    """

    def __init__(self, folder: Path):
        self.path = Path(folder)
        identities, loose = identities_in(self.path), images_in(self.path)
        if not identities and not loose:
            raise ValueError(
                f"{folder} holds neither train.rec nor subfolders (one per identity) with .jpg, .png, .bmp or .webp, "
                "nor such images themselves (without labels)"
            )
        if identities and loose:
            raise ValueError(
                f"{folder} holds {len(loose)} images ({loose[0].name}) beside {len(identities)} subfolders with images; move "
                "them into subfolders, one per identity, or all images into one folder to train without labels"
            )
        self.names = [name for name, _ in identities]
        self.files = loose or [file for _, files in identities for file in files]
        self.labels = np.repeat(np.arange(len(identities)), [len(files) for _, files in identities])
        if loose:
            self.labels = np.full(len(loose), NO_IDENTITY)
        self.num_classes = len(identities)

    def __len__(self) -> int:
        return len(self.files)

    def payload(self, row: int) -> bytes:
        """The undecoded image file of a row."""
        return self.files[row].read_bytes()

    def fingerprint(self) -> str:
        """SHA-256 over the names and contents of all files; computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(str(file.relative_to(self.path)).encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()
