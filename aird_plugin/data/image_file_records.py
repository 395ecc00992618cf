"""What records have in common whose images are single files."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

from aird_plugin.data.images import FILE_FORMATS


class ImageFiles(ABC):
    """Images in `files`, one per row."""

    formats = FILE_FORMATS
    files: list[Path]

    def __len__(self) -> int:
        return len(self.files)

    def payload(self, row: int) -> bytes:
        """The undecoded image file of a row."""
        return self.files[row].read_bytes()

    def where(self, row: int) -> str:
        """The file of a row, for error messages."""
        return str(self.files[row])

    def fingerprint(self) -> str:
        """`digest`, computed once."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return self.digest()

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 over what identifies the images and their labels."""
