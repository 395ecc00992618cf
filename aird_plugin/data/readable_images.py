"""Leave unreadable images out of an identification set, and account for them.

N = images, G = gallery entries, P = probes.
"""

from pathlib import Path

import numpy as np

from aird_plugin.data.blocks import decode_blocks
from aird_plugin.data.identification import IdentificationSet, ImageFile, read_square
from aird_plugin.data.image_files import UNREADABLE, Accounting

UNENROLLED = "probes whose gallery images are all unreadable"


def are_readable(images: list[ImageFile]) -> np.ndarray:
    """Whether each image decodes, bool (N,), under a progress bar.

    Raises FileNotFoundError for a missing file: the data set is incomplete.
    """

    def readable(row: int) -> bool:
        try:
            read_square([images[row]], 1)
        except FileNotFoundError:
            raise
        except (ValueError, OSError):
            return False
        return True

    checked = decode_blocks(readable, range(len(images)), "checking the images")
    return np.array([found for _, block in checked for found in block], dtype=bool)


def without_unreadable(dataset: IdentificationSet, data: Path) -> IdentificationSet:
    """The set without its unreadable images, which its walks then name; the set itself where all can be read.

    Probes of an identity whose gallery images are all unreadable are left out too: they would count as non-mated. data: the file
    or folder of the set, for an accounting of images that are in none of its walks. Raises FileNotFoundError for a missing file,
    and ValueError where no probe or no gallery image is left.
    """
    good_G, good_P = are_readable(dataset.gallery), are_readable(dataset.probes)
    unreadable = int((~good_G).sum() + (~good_P).sum())
    if not unreadable:
        return dataset
    lost = np.setdiff1d(dataset.gallery_labels[~good_G], dataset.gallery_labels[good_G])
    lost_P = good_P & np.isin(dataset.probe_labels, lost[lost >= 0])
    walks = list(dataset.walks)
    taken = len(good_G) + len(good_P)
    for images, bad, reason in (
        (dataset.gallery, ~good_G, UNREADABLE),
        (dataset.probes, ~good_P, UNREADABLE),
        (dataset.probes, lost_P, UNENROLLED),
    ):
        for row in np.flatnonzero(bad).tolist():
            leave_out(images[row], reason, walks, Accounting(data, taken))
    keep_P = good_P & ~lost_P
    if not good_G.any() or not keep_P.any():
        lines = "; ".join(line for walk in walks if (line := walk.line()))
        raise ValueError(f"{data}: {'no probe' if good_G.any() else 'no gallery image'} is left. {lines}")
    return dataset._replace(
        gallery=[image for image, good in zip(dataset.gallery, good_G, strict=True) if good],
        gallery_labels=dataset.gallery_labels[good_G],
        probes=[image for image, keep in zip(dataset.probes, keep_P, strict=True) if keep],
        probe_labels=dataset.probe_labels[keep_P],
        probe_track=dataset.probe_track[keep_P],
        walks=tuple(walks),
        unreadable=dataset.unreadable + unreadable,
    )


def leave_out(image: ImageFile, reason: str, walks: list[Accounting], other: Accounting) -> None:
    """Name an image, once, in the walk of its folder, or in `other`, which then joins the walks."""
    where = Path(image.where)
    inside = (walk for walk in walks if image.payload is None and where.is_relative_to(walk.folder))
    walk = next(inside, None) or next((walk for walk in walks if walk.folder == other.folder), None)
    if walk is None:
        walk = other
        walks.append(walk)
    name = str(where.relative_to(walk.folder)) if where.is_relative_to(walk.folder) else image.where
    name = name.removeprefix(f"{walk.folder}, ")
    if name not in walk.left_out.get(reason, ()):
        walk.leave_out(reason, name)
        walk.taken -= 1
