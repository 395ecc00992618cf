"""The identification sets of a data set on disk, by the name of its layout."""

from pathlib import Path

import numpy as np

from aird_plugin.data import identification, matlab_lists
from aird_plugin.data.identification import IdentificationSet, ImageFile
from aird_plugin.data.image_files import UNREADABLE, Accounting
from aird_plugin.data.readable_images import are_readable, without_unreadable
from aird_plugin.evaluation.gallery_evaluator import image_sums
from aird_plugin.evaluation.pooling import merge_groups

READERS = {
    "folders": identification.read_folders,
    "scface": identification.read_scface,
    "tinyface": matlab_lists.read_tinyface,
    "survface": matlab_lists.read_survface,
}


def read_layout(layout: str, data: str, distractors: str | None = None) -> list[IdentificationSet]:
    """The identification sets of every layout but a .bin. distractors: a folder of images to add to the gallery.

    Unreadable images are left out. Raises what the reader of the layout and `without_unreadable` raise.
    """
    identification_sets = READERS[layout](Path(data))
    if distractors:
        images = identification.images_in(Path(distractors))
        identification_sets = [identification.with_distractors(one, *images) for one in identification_sets]
    return [without_unreadable(one, Path(data)) for one in identification_sets]


def read_bin(data: str, distractors: str | None = None, merge: float | None = None, teacher=None, batch=96, device="cpu"):
    """The identification set of a verification file (.bin), in a list.

    distractors: a folder of images to add to the gallery; "" enrols the file's identities of a single image as distractors.
    merge: join the identities whose pooled HR embeddings have a cosine above this by `teacher`. Unreadable images are left out.
    """
    images, label_N = identification.bin_identities(Path(data))
    readable_N = are_readable(images)
    walk = Accounting(Path(data), int(readable_N.sum()))
    walk.leave_out(UNREADABLE, *(images[row].where.removeprefix(f"{data}, ") for row in np.flatnonzero(~readable_N)))
    images, label_N = [images[row] for row in np.flatnonzero(readable_N)], label_N[readable_N]
    if merge is not None:
        label_N = merged_labels(images, label_N, merge, teacher, batch, device)
    identification_set = identification.split_identities(images, label_N, distractors == "")
    if distractors:
        added = identification.images_in(Path(distractors))
        identification_set = without_unreadable(identification.with_distractors(identification_set, *added), Path(distractors))
    unreadable = identification_set.unreadable + int((~readable_N).sum())
    return [identification_set._replace(walks=(walk, *identification_set.walks), unreadable=unreadable)]


def merged_labels(images: list[ImageFile], label_N: np.ndarray, cosine: float, teacher, batch=96, device="cpu") -> np.ndarray:
    """The labels (N,) after joining the identities whose pooled embeddings by the teacher have a cosine above `cosine`."""
    return merge_groups(image_sums(teacher, images, None, None, batch, device, "teacher, identities"), label_N, cosine)
