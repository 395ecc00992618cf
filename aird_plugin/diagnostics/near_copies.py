"""Searches the training images for one photo filed twice, by the teacher's cached embeddings.

N = images, Q = sampled images, F = few random images, V = views, D = embedding width, K = length of a list.
"""

from collections.abc import Iterator

import numpy as np

from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.diagnostics.row_samples import MANY, random_rows, row_windows
from aird_plugin.utils.vectors import normalise

# Re-encoded, slightly cropped or recoloured copies of one photo lie above this cosine; impostors do not, and other photos of
# the identity rarely. The share of images that is a warning: public sets hold a few.
COPY_COSINE, MAX_COPIES = 0.95, 0.005
SAMPLE = 50_000
# By definition 1% of images have an impostor above this quantile; it is estimated from the two lower ones.
IMPOSTOR_QUANTILE, LOWER, MIDDLE = 0.99, 0.25, 0.5
# Of maxima of values with exponential tails the values have a Gumbel distribution, of those with normal tails their squares.
# Cosines to impostors lie between: on faces15k, 1.5 gives 0.43 with EdgeFace-XS, where 3% of the images have a higher one, and
# 0.70 to 0.77 with MobileFaceNet, where fewer than 1% have.
POWER = 1.5
QUERIES = 500
# Each query is compared with this many random images, or this part of them, in draws of so many images together.
FEW, PART, DRAWN = 64, 256, 512


def impostor_limit(embeddings_NVD: np.ndarray, label_N: np.ndarray, seed: int = 0) -> float:
    """The highest cosine to an impostor among all N images that 1% of the images exceed, were the labels right.

    Measured on all images it would be that of wrong labels: an image whose identity is also filed under another label has an
    "impostor" of its own identity. Among few random images there is hardly ever one, and a maximum of cosines, to a power, has
    nearly a Gumbel distribution: the lower half of the maxima fixes it, and that of m times as many images lies ln(m) units
    higher. With 40% of the labels of real images drawn at random, the limit rises by 0.04.
    """
    rng = np.random.default_rng(seed)
    count = len(label_N)
    few = min(max(FEW, min(count, MANY) // PART), max(count // 2, 1))
    row_Q = random_rows(rng, count, QUERIES)
    query_QD = normalise(embeddings_NVD[np.sort(row_Q), 0].astype(np.float32))
    label_Q, maxima = label_N[np.sort(row_Q)], []
    for _ in range(max(DRAWN // few, 1)):
        row_F = np.sort(random_rows(rng, count, few))
        cosine_QF = query_QD @ normalise(embeddings_NVD[row_F, 0].astype(np.float32)).T
        cosine_QF[label_Q[:, None] == label_N[row_F]] = -1
        maxima.append(np.maximum(cosine_QF.max(1), 0) ** POWER)
    gumbel = {p: -np.log(-np.log(p)) for p in (LOWER, MIDDLE, IMPOSTOR_QUANTILE)}
    lower, middle = np.quantile(np.concatenate(maxima), [LOWER, MIDDLE])
    unit = (middle - lower) / (gumbel[MIDDLE] - gumbel[LOWER])
    return float(middle + unit * (gumbel[IMPOSTOR_QUANTILE] - gumbel[MIDDLE] + np.log(count / few))) ** (1 / POWER)


def copy_cosine(limit: float) -> float:
    """The cosine from which two images show the same photo, 1 where the teacher cannot tell. limit: of `impostor_limit`."""
    return 1.0 if limit >= COPY_COSINE else max(COPY_COSINE, 1 - (1 - limit) / 4)


def check_near_copies(bank, seed: int = 0) -> Iterator[Diagnostic]:
    """Search for one photo under two identities, and twice under one, in the bank's lists of the most similar images."""
    rng = np.random.default_rng(seed)
    # Without labels there is no other identity.
    row_N = row_windows(rng, len(bank.label_N))
    row_Q = np.sort(rng.permutation(row_N[bank.label_N[row_N] != NO_IDENTITY])[:SAMPLE])
    hard_Q, cosine_Q = first_listed(bank.embeddings_NVD, bank.hard_NK, row_Q)
    if not len(hard_Q):
        return
    least = copy_cosine(impostor_limit(bank.embeddings_NVD, bank.label_N, seed))
    if least == 1:
        yield Diagnostic("note", "near copies among the training images cannot be found: by the teacher, all images are alike")
        return
    copies = hard_Q[cosine_Q > least]
    text = f"{len(copies)} of {len(row_Q)} training images have a near copy under another identity (cosine above {least:.2f}"
    text += f"; for example row {copies[0]} and row {bank.hard_NK[copies[0], 0]})" if len(copies) else ")"
    if len(copies) > MAX_COPIES * len(row_Q):
        yield Diagnostic("warning", text, "one of the two labels is wrong; remove such images, or join the identities")
    else:
        yield Diagnostic("note" if len(copies) else "ok", text)
    same_Q, cosine_Q = first_listed(bank.embeddings_NVD, bank.same_NS, row_Q)
    if count := int((cosine_Q > least).sum()):
        yield Diagnostic("note", f"{count} of {len(row_Q)} training images have a near copy under the same identity")


def first_listed(embeddings_NVD: np.ndarray, lists_NK: np.ndarray, row_Q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows among `row_Q` that list an image, and each one's cosine to the first listed, by the first view."""
    if not lists_NK.shape[1]:
        return row_Q[:0], np.empty(0, np.float32)
    other_Q = lists_NK[row_Q, 0]
    row_Q, other_Q = row_Q[other_Q >= 0], other_Q[other_Q >= 0]
    first_QD, other_QD = (normalise(embeddings_NVD[rows, 0].astype(np.float32)) for rows in (row_Q, other_Q))
    return row_Q, (first_QD * other_QD).sum(1)
