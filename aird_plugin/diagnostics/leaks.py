"""Checks whether test images are also training images, by bytes or by identity.

N = training images, Q = query images, D = embedding width.
"""

from pathlib import Path

import numpy as np

from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.pairs import first_places, pair_faces, read_pairs
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.diagnostics.teacher_input import normalized
from aird_plugin.utils.progress import progress

TAIL = 32
QUERIES = 500
ROW_BLOCK = 65536
# By definition 1% of training images have an impostor above this quantile; 5% of 500 queries is no chance result.
IMPOSTOR_QUANTILE, MAX_SHARE = 0.99, 0.05


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


def check_shared_identities(bank, teacher, target: str, seed: int = 0) -> Diagnostic:
    """Check whether test images resemble training images more often than impostors do, by the teacher's cosine."""
    rng = np.random.default_rng(seed)
    pairs = read_pairs(target)
    distinct = np.unique(first_places(pairs.images))
    chosen = rng.permutation(distinct)[:QUERIES]
    images_QHWC = pair_faces(pairs._replace(images=[pairs.images[index] for index in chosen]))
    test_QD = normalized(teacher.embed(images_QHWC))
    row_Q = rng.permutation(len(bank.label_N))[:QUERIES]
    training_QD = normalized(bank.embeddings_NVD[row_Q, 0].astype(np.float32))
    limit = np.quantile(max_cosine(bank, training_QD, bank.label_N[row_Q]), IMPOSTOR_QUANTILE)
    share = float((max_cosine(bank, test_QD, np.full(len(test_QD), NO_IDENTITY)) > limit).mean())
    text = (
        f"{share:.0%} of {len(test_QD)} images of {Path(target).name} have a training image with a cosine above {limit:.2f}, "
        f"which {1 - IMPOSTOR_QUANTILE:.0%} of training images reach with an impostor"
    )
    if share <= MAX_SHARE:
        return Diagnostic("ok", text)
    return Diagnostic("warning", text, "training and test set probably share identities; test on other identities")


def max_cosine(bank, query_QD: np.ndarray, label_Q: np.ndarray) -> np.ndarray:
    """Highest cosine of each query to the first view of a training image with another label than `label_Q`. (Q,)"""
    best_Q = np.full(len(query_QD), -1.0, np.float32)
    for start in range(0, len(bank.label_N), ROW_BLOCK):
        rows = slice(start, start + ROW_BLOCK)
        cosine_QN = query_QD @ bank.embeddings_NVD[rows, 0].astype(np.float32).T
        cosine_QN[label_Q[:, None] == bank.label_N[rows]] = -1
        best_Q = np.maximum(best_Q, cosine_QN.max(1))
    return best_Q
