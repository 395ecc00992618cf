"""Checks of the identity labels.

N = images, C = identities.
"""

from collections.abc import Iterator

import numpy as np

from aird_plugin.data.bank.neighbors import label_counts
from aird_plugin.diagnostics.diagnostic import Diagnostic


def check_labels_of_identities(label_N: np.ndarray, num_classes: int) -> Iterator[Diagnostic]:
    """Check for labels, gaps in the numbering, identities with a single image, and data of one identity only."""
    if not num_classes:
        yield Diagnostic("note", "the run has no labels", "it trains by terms on the teacher's outputs alone")
        return
    count_C = label_counts(label_N)[1:]
    count_C = np.pad(count_C, (0, max(num_classes - len(count_C), 0)))
    empty = np.flatnonzero(count_C == 0)
    if len(empty):
        yield Diagnostic(
            "warning",
            f"{len(empty)} of {num_classes} identities have no image (the first is label {empty[0]})",
            "their class centers are only pushed away; number the identities 0, 1, 2 ... as tools/make_rec.py does",
        )
    single, identities = int((count_C == 1).sum()), int((count_C > 0).sum())
    if single == identities:
        yield Diagnostic(
            "warning",
            "no identity has two images",
            "the classes are images, not identities; check whether the label is the image's number",
        )
    elif single:
        yield Diagnostic(
            "note",
            f"{single} of {identities} identities have a single image",
            "RID relates them to another view of the image, or skips them",
        )
    if identities == 1:
        yield Diagnostic("warning", "all images have the same label", "training needs two or more identities")
