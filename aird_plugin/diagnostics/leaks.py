"""Checks whether test images are also training images, by bytes, as near copies, or by identity.

N = training images, Q = query images, D = embedding width.
"""

from pathlib import Path

import numpy as np

from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.pairs import first_indices, pair_faces, read_pairs
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.diagnostics.near_copies import IMPOSTOR_QUANTILE, MAX_COPIES, copy_cosine, first_listed, impostor_limit
from aird_plugin.utils.progress import progress
from aird_plugin.utils.vectors import normalise

TAIL = 32
QUERIES = 500
ROW_BLOCK = 65536
# 8% of 500 queries is no chance result: 1% of the images reach the limit by definition, 3% where its estimate is low.
MAX_SHARE = 0.08


def check_shared_images(records, target: str) -> Diagnostic:
    """Check whether images of a .bin file are, byte for byte, training images."""
    images = read_pairs(target).images
    shared = shared_images(records, images)
    name = Path(target).name
    if not shared:
        return Diagnostic("ok", f"no image of {name} is among the training images")
    image, row = next(iter(shared.items()))
    return Diagnostic(
        "warning",
        f"{len(shared)} of {len(set(images))} images of {name} are training images (one of pair {image // 2} is row {row})",
        "its accuracy is not measured on unseen identities; remove its identities from the training images",
    )


def shared_images(records, images: list[bytes]) -> dict[int, int]:
    """Index of each distinct image that is also a training image -> its training row."""
    index_of = {image: index for index, image in reversed(list(enumerate(images)))}
    # Length and last bytes rule out most training images without a hash of the whole image.
    ends = {(len(image), image[-TAIL:]) for image in index_of}
    found: dict[int, int] = {}
    for row in progress(range(len(records)), len(records), "images in both training and test sets", "images"):
        payload = bytes(records.payload(row))
        if (len(payload), payload[-TAIL:]) in ends and payload in index_of:
            found.setdefault(index_of[payload], row)
    return found


def check_shared_identities(bank, teacher, target: str, seed: int = 0) -> list[Diagnostic]:
    """Check whether test images are near copies of training images, or resemble them more often than impostors do.

    By the teacher's cosine, on up to 500 images of the .bin.
    """
    rng = np.random.default_rng(seed)
    pairs = read_pairs(target)
    distinct = np.unique(first_indices(pairs.images))
    chosen = rng.permutation(distinct)[:QUERIES]
    images_QHWC = pair_faces(pairs._replace(images=[pairs.images[index] for index in chosen]))
    test_QD = normalise(teacher.embed(images_QHWC))
    row_Q = rng.permutation(len(bank.label_N))[:QUERIES]
    training_QD = normalise(bank.embeddings_NVD[row_Q, 0].astype(np.float32))
    measured = float(np.quantile(nearest(bank, training_QD, bank.label_N[row_Q])[0], IMPOSTOR_QUANTILE))
    limit = min(measured, impostor_limit(bank.embeddings_NVD, bank.label_N, seed))
    cosine_Q, training_row_Q = nearest(bank, test_QD, np.full(len(test_QD), NO_IDENTITY))
    name = Path(target).name
    found = [near_copies_of_training(name, cosine_Q, training_row_Q, chosen, copy_cosine(limit))]
    share = float((cosine_Q > limit).mean())
    return [*found, shared_identities(name, share, len(test_QD), limit, genuine_cosine(bank, row_Q))]


def shared_identities(name: str, share: float, images: int, limit: float, genuine: float) -> Diagnostic:
    """Judge the share of test images that are above the limit. genuine: median cosine to the nearest image of the identity."""
    if limit >= genuine and share <= MAX_SHARE:
        return Diagnostic(
            "note",
            f"identities shared with {name} cannot be found: training images reach a cosine of {limit:.2f} with impostors and "
            f"{genuine:.2f} with their own identity",
            "the teacher does not suit the images, or identities are filed under several labels",
        )
    text = (
        f"{share:.0%} of {images} images of {name} have a training image with a cosine above {limit:.2f}, "
        f"which about {1 - IMPOSTOR_QUANTILE:.0%} of training images reach with an impostor"
    )
    if share <= MAX_SHARE:
        return Diagnostic("ok", text)
    return Diagnostic("warning", text, "training and test set probably share identities; test on other identities")


def near_copies_of_training(name: str, cosine_Q, row_Q, chosen: np.ndarray, least: float) -> Diagnostic:
    """Judge the test images whose nearest training image shows the same photo. chosen: their places in the .bin."""
    copies = np.flatnonzero(cosine_Q > least) if least < 1 else row_Q[:0]
    text = f"{len(copies)} of {len(chosen)} images of {name} are near copies of training images (cosine above {least:.2f}"
    if len(copies):
        text += f"; one of pair {chosen[copies[0]] // 2} is row {row_Q[copies[0]]}"
    if len(copies) <= MAX_COPIES * len(chosen):
        return Diagnostic("note" if len(copies) else "ok", f"{text})")
    return Diagnostic(
        "warning", f"{text})", "its accuracy is not measured on unseen images; remove them from the training images"
    )


def genuine_cosine(bank, row_Q: np.ndarray) -> float:
    """Median cosine of these rows to the most similar other image of their identity; 1 where none has another image."""
    _, cosine_Q = first_listed(bank.embeddings_NVD, bank.same_NS, row_Q)
    return float(np.median(cosine_Q)) if len(cosine_Q) else 1.0


def nearest(bank, query_QD: np.ndarray, label_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Highest cosine of each query to the first view of a training image with another label than `label_Q`, and its row. (Q,)"""
    best_Q, row_Q = np.full(len(query_QD), -1.0, np.float32), np.zeros(len(query_QD), int)
    for start in range(0, len(bank.label_N), ROW_BLOCK):
        rows = slice(start, start + ROW_BLOCK)
        cosine_QN = query_QD @ bank.embeddings_NVD[rows, 0].astype(np.float32).T
        cosine_QN[label_Q[:, None] == bank.label_N[rows]] = -1
        column_Q = cosine_QN.argmax(1)
        found_Q = np.take_along_axis(cosine_QN, column_Q[:, None], 1)[:, 0]
        row_Q = np.where(found_Q > best_Q, start + column_Q, row_Q)
        best_Q = np.maximum(best_Q, found_Q)
    return best_Q, row_Q
