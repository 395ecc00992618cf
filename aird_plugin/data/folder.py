"""Training faces from a folder of images, one subfolder per person; the same interface as `facerec.FaceRecords`."""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})


def people_in(folder: Path) -> list[tuple[str, list[Path]]]:
    """(name, images) of each subfolder that has images; people by name, images by name."""
    found = []
    for person in sorted(p for p in Path(folder).iterdir() if p.is_dir()):
        images = sorted(p for p in person.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if images:
            found.append((person.name, images))
    return found


class FolderRecords:
    """FOLDER/person/*.jpg, people numbered by sorted name. Raises ValueError where it holds no such image."""

    def __init__(self, folder: Path):
        self.path = Path(folder)
        people = people_in(self.path)
        if not people:
            raise ValueError(f"{folder} holds neither train.rec nor subfolders (one per person) with .jpg, .png, .bmp or .webp")
        self.names = [name for name, _ in people]
        self.files = [file for _, files in people for file in files]
        self.labels = np.repeat(np.arange(len(people)), [len(files) for _, files in people])
        self.num_classes = len(people)

    def __len__(self) -> int:
        return len(self.files)

    def payload(self, row: int) -> bytes:
        """The image file of a row, as it is."""
        return self.files[row].read_bytes()

    def fingerprint(self) -> str:
        """A hash of every file's name and content. Taken once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        total = hashlib.sha256()
        for file in self.files:
            total.update(str(file.relative_to(self.path)).encode() + b"\0")
            total.update(hashlib.sha256(file.read_bytes()).digest())
        return total.hexdigest()
