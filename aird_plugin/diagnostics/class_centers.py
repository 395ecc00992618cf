"""Checks whether the class centers that the head and IID get belong to the identities of the training images."""

from collections.abc import Iterator

import numpy as np

from aird_plugin.data.bank.centers import MIN_OWN, foreign_classifier, sample_identities, share_of_own
from aird_plugin.data.records import as_stored, decode_face
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.diagnostics.teacher_input import MAX_IDENTITIES, MIN_IDENTITIES, two_rows_per_identity
from aird_plugin.utils.vectors import normalise


def check_centers(bank) -> Iterator[Diagnostic]:
    """Compare the bank's class centers with its class means: a bank of an older version may hold those of other identities."""
    rows = sample_identities(bank.label_N)
    if not len(bank.centers_CD) or not len(rows):
        return
    mean_XD = normalise(bank.embeddings_NVD[rows].astype(np.float32).mean(1))
    share = share_of_own(bank.centers_CD, mean_XD, bank.label_N[rows])
    if share >= MIN_OWN:
        yield Diagnostic(
            "ok", f"the bank's class centers belong to the identities: {share:.0%} are the nearest to their class mean"
        )
        return
    yield Diagnostic(
        "warning",
        "the bank's class centers belong to other identities, or to these in another order: "
        f"{share:.0%} are the nearest to their class mean",
        "remove the bank's teacher folder and build it again; class means then replace the teacher's classifier",
    )


def check_classifier(teacher, records, seed: int = 0) -> Iterator[Diagnostic]:
    """Compare the classifier in the teacher's checkpoint with its embeddings of two images of each of 150 identities."""
    records, classifier_CD = as_stored(records), getattr(teacher, "classifier", None)
    if classifier_CD is None:
        return
    if len(classifier_CD) != records.num_classes:
        text = f"the teacher's classifier has {len(classifier_CD)} rows and the images {records.num_classes} identities"
        yield Diagnostic("note", text, "class means replace it")
        return
    row_X = two_rows_per_identity(records.labels, MAX_IDENTITIES, np.random.default_rng(seed)).ravel()
    label_X = np.asarray(records.labels)[row_X]
    if len(row_X) < 2 * MIN_IDENTITIES:
        yield Diagnostic("note", "too few identities with two images to compare the teacher's classifier with")
        return
    embeddings_XD = normalise(teacher.embed(np.stack([decode_face(records, int(row)) for row in row_X])))
    share = share_of_own(classifier_CD, embeddings_XD, label_X)
    if share >= MIN_OWN:
        yield Diagnostic("ok", f"the rows of the teacher's classifier belong to the identities: {share:.0%} of {len(row_X) // 2}")
        return
    yield Diagnostic(
        "warning",
        foreign_classifier(teacher, len(classifier_CD), share),
        "class means replace it; to use it, number the identities as in the teacher's training set",
    )
