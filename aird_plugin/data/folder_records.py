"""Training images from a folder, by identity or without labels; the same interface as `FaceRecords`."""

import hashlib
from pathlib import Path

import numpy as np

from aird_plugin.data.constants import IMAGE_KINDS, NO_IDENTITY
from aird_plugin.data.image_file_records import ImageFiles
from aird_plugin.data.image_files import find_identities


class FolderRecords(ImageFiles):
    """FOLDER/IDENTITY/*.jpg, labels in the order of the sorted names; or FOLDER/*.jpg, without labels.

    Without labels, `labels` are all `NO_IDENTITY` and `num_classes` is 0. left_out: what `find_identities` left out. Raises
    ValueError if there is no image, or if there are images both in the folder and in its subfolders: either the images or the
    identities would have to be ignored.
    """

    def __init__(self, folder: Path):
        self.path = Path(folder)
        identities, loose, self.left_out = find_identities(self.path)
        self.left_out.taken = self.left_out.taken or len(loose)
        if not identities and not loose:
            why = self.left_out.line()
            raise ValueError(
                f"{folder} holds neither train.rec nor subfolders (one per identity) with {IMAGE_KINDS}, "
                f"nor such images themselves (without labels)" + (f". {why}" if why else "")
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

    def digest(self) -> str:
        """SHA-256 over the names and contents of all files."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(str(file.relative_to(self.path)).encode("utf-8", "surrogateescape") + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()
