"""Find the image files below a folder. Training, conversion, alignment, identification and adaptation share these rules.

Hidden and system folders and files are no data: their copies would be identities or images a second time. What is left out is
counted, and `Accounting.line` names it.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from aird_plugin.data.constants import IMAGE_SUFFIXES
from aird_plugin.utils.counts import counted

# Of file servers, cameras, file managers and editors, in lower case; names that begin with a dot are hidden.
SYSTEM_NAMES = frozenset(
    {
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "@__thumb",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "__macosx",
        "__pycache__",
        "thumbs.db",
        "desktop.ini",
    }
)
# Lists, notes and settings that lie beside images and hold none.
COMPANION_SUFFIXES = frozenset(
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .md .html .pdf .log .mat .npy .npz .lst .idx .rec .bin .py .ipynb .db .ini "
    ".lock .pt .onnx .md5 .sha256 .part".split()
)
COMPANION_NAMES = frozenset("property readme license licence copying notice changelog makefile md5sums sha256sums".split())
HIDDEN_FILES, HIDDEN_FOLDERS = "hidden or system files", "hidden or system folders with images"
OTHER_FORMAT, BROKEN_LINK = "files of a format that is not read", "links to nothing"
LINKED_FOLDERS = "linked folders, not followed"
LOOSE = "images beside the identities' folders"
DEEPER = "images in several folders below one without images, so that their identities are ambiguous"
EMPTY, UNREADABLE = "folders without an image", "unreadable images"
NAMES_SHOWN = 3


@dataclass
class Accounting:
    """The number of images that a command took from a folder, and what it left out: reason -> names relative to the folder."""

    folder: Path
    taken: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, *names: str | PurePath) -> None:
        """Record names that are left out."""
        if names:
            self.left_out.setdefault(reason, []).extend(str(name) for name in names)

    def line(self) -> str | None:
        """`FOLDER: 86 images taken; left out: unreadable images: 2 (ann/1.jpg, ann/2.jpg)`; None where nothing is left out."""
        if not self.left_out:
            return None
        reasons = "; ".join(f"{reason}: {len(names)} ({first_names(names)})" for reason, names in self.left_out.items())
        return f"{self.folder}: {counted(self.taken, 'image')} taken; left out: {reasons}"


def first_names(names: Iterable[str]) -> str:
    """The first few names, with an ellipsis where there are more."""
    names = list(names)
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def is_system(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or belongs to a system and not to the data."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_image_name(name: str) -> bool:
    """Whether the name ends in one of IMAGE_SUFFIXES."""
    return PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def find_images(folder: str | Path) -> tuple[list[Path], Accounting]:
    """Every image file below a folder, sorted, and what was left out. Raises OSError for a folder that cannot be listed.

    Linked folders below it are not followed, since they may lead back.
    """
    found = Accounting(Path(folder))
    images = sorted(_walk(Path(folder), found))
    found.taken = len(images)
    return images, found


def find_identities(folder: str | Path, any_depth: bool = False) -> tuple[list[tuple[str, list[Path]]], list[Path], Accounting]:
    """(name, image files) of each subfolder with images, both sorted; the images beside the subfolders; what was left out.

    Images in folders below an identity's own images are that identity's. Where a subfolder has images only in several folders
    below it, each of those may be an identity or not: they are left out, unless `any_depth` states that a subfolder is an
    identity with all that is below it. Subfolders may be links.
    """
    found = Accounting(Path(folder))
    identities, loose = [], []
    for entry in _entries(Path(folder), found):
        if not entry.is_dir():
            loose.append(Path(entry.path))
            continue
        left_out_before = sum(map(len, found.left_out.values()))
        images = sorted(_walk(Path(entry.path), found))
        places = {file.parent for file in images}
        if len(places) > 1 and Path(entry.path) not in places and not any_depth:
            found.leave_out(DEEPER, *(file.relative_to(folder) for file in images))
        elif images:
            identities.append((entry.name, images))
        elif sum(map(len, found.left_out.values())) == left_out_before:
            found.leave_out(EMPTY, entry.name)
    found.taken = sum(len(images) for _, images in identities)
    return sorted(identities), sorted(loose), found


def _walk(folder: Path, found: Accounting) -> Iterator[Path]:
    """The image files below a folder, in any order."""
    waiting = [folder]
    while waiting:
        for entry in _entries(waiting.pop(), found):
            if not entry.is_dir():
                yield Path(entry.path)
            elif entry.is_symlink():
                found.leave_out(LINKED_FOLDERS, Path(entry.path).relative_to(found.folder))
            else:
                waiting.append(Path(entry.path))


def _entries(folder: Path, found: Accounting) -> list[os.DirEntry]:
    """The subfolders and image files of a folder that are data, by name; the others are left out."""
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    data = []
    for entry in entries:
        reason = _reason(entry)
        if reason:
            found.leave_out(reason, Path(entry.path).relative_to(found.folder))
        elif entry.is_dir() or is_image_name(entry.name):
            if not is_system(entry.name):
                data.append(entry)
    return data


def _reason(entry: os.DirEntry) -> str | None:
    """Why an entry is left out; None for data, and for what is not worth a word: companions, system files without images."""
    name = PurePath(entry.name)
    if entry.is_dir():
        return HIDDEN_FOLDERS if is_system(entry.name) and _has_image(entry.path) else None
    if is_system(entry.name):
        return HIDDEN_FILES if is_image_name(entry.name) else None
    if is_image_name(entry.name):
        return None if entry.is_file() else BROKEN_LINK
    is_companion = name.suffix.lower() in COMPANION_SUFFIXES or name.stem.lower() in COMPANION_NAMES
    return None if is_companion else OTHER_FORMAT


def _has_image(folder: str) -> bool:
    """Whether any file below a folder has the name of an image."""
    return any(is_image_name(name) for _, _, names in os.walk(folder) for name in names)
