"""The identification sets of a data set on disk, by the name of its layout."""

from pathlib import Path

import numpy as np

from aird_plugin.data import identification, matlab_lists
from aird_plugin.data.identification import IdentificationSet, ImageFile
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

    Raises what the reader of the layout raises.
    """
    identification_sets = READERS[layout](Path(data))
    if not distractors:
        return identification_sets
    images = identification.images_in(Path(distractors))
    return [identification.with_distractors(one, *images) for one in identification_sets]


def read_bin(data: str, distractors: str | None = None, merge: float | None = None, teacher=None, batch=96, device="cpu"):
    """The identification set of a verification file (.bin), in a list.

    distractors: a folder of images to add to the gallery; "" enrols the file's identities of a single image as distractors.
    merge: join the identities whose pooled HR embeddings have a cosine above this by `teacher`.
    """
    images, label_N = identification.bin_identities(Path(data))
    if merge is not None:
        label_N = merged_labels(images, label_N, merge, teacher, batch, device)
    identification_set = identification.split_identities(images, label_N, distractors == "")
    if distractors:
        identification_set = identification.with_distractors(identification_set, *identification.images_in(Path(distractors)))
    return [identification_set]


def merged_labels(images: list[ImageFile], label_N: np.ndarray, cosine: float, teacher, batch=96, device="cpu") -> np.ndarray:
    """The labels (N,) after joining the identities whose pooled embeddings by the teacher have a cosine above `cosine`."""
    return merge_groups(image_sums(teacher, images, None, None, batch, device, "teacher, identities"), label_N, cosine)
