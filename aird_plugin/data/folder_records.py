"""Training images from a folder with one subfolder per identity; the same interface as `FaceRecords`."""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np

from aird_plugin.data.constants import IMAGE_SUFFIXES


def identities_in(folder: Path) -> list[tuple[str, list[Path]]]:
    """List (name, image files) of each subfolder that has images, both sorted by name."""
    found = []
    for subfolder in sorted(p for p in Path(folder).iterdir() if p.is_dir()):
        images = sorted(p for p in subfolder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if images:
            found.append((subfolder.name, images))
    return found


class FolderRecords:
    """FOLDER/IDENTITY/*.jpg, labels in the order of the sorted names. Raises ValueError if there is no such image."""

    def __init__(self, folder: Path):
        self.path = Path(folder)
        identities = identities_in(self.path)
        if not identities:
            raise ValueError(f"{folder} holds neither train.rec nor subfolders (one per identity) with .jpg, .png, .bmp or .webp")
        self.names = [name for name, _ in identities]
        self.files = [file for _, files in identities for file in files]
        self.labels = np.repeat(np.arange(len(identities)), [len(files) for _, files in identities])
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
