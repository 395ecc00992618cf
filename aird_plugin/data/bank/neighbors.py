"""Nearest neighbors by teacher embedding: lists of images of the same identity and of hard negatives.

The search runs in blocks of rows, so memory does not grow with N x N. It costs N * N * D multiply-adds: 0.03 TFLOP for 15,000
images of width 128, 250 TFLOP for CASIA's 494,414 of width 512 (about an hour on a CPU with 100 GFLOP/s, under a minute on a
data-center GPU). Among M candidates it costs N * M * D: sets of more than `bank_searched` images are searched in a random sample.

An image of label NO_IDENTITY counts as an identity of its own, without a center.

N = images, X = images of an identity, B = images of a block, D = embedding width, C = identities, K = length of a list.
"""

from typing import NamedTuple

import numpy as np
import torch

from aird_plugin.data.blocks import blocks_of
from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.device_array import fits
from aird_plugin.data.streamed_sampler import ROUNDS, permuted
from aird_plugin.utils.progress import progress
from aird_plugin.utils.vectors import normalise

ROW_BLOCK = 1024
COLUMN_BLOCK = 65536


def class_means(embeddings_ND: np.ndarray, label_N: np.ndarray, num_classes: int) -> np.ndarray:
    """Normalised mean embedding of each identity. float32 (C, D); an identity without images has a row of zeros.

    The sums run over blocks of images, so that a mapped array is never in memory as a whole.
    """
    sums_CD = np.zeros((num_classes, embeddings_ND.shape[1]), np.float64)
    for start in range(0, len(label_N), COLUMN_BLOCK):
        rows = slice(start, start + COLUMN_BLOCK)
        known_R = label_N[rows] != NO_IDENTITY
        np.add.at(sums_CD, label_N[rows][known_R], embeddings_ND[rows][known_R])
    return normalise(sums_CD).astype(np.float32)


def rows_by_label(label_N: np.ndarray, out_N: np.ndarray | None = None) -> np.ndarray:
    """The images in the order of their labels, and of their rows within a label: a stable argsort, in blocks. int32 (N,).

    It is written to `out_N`, which may be mapped from a file; memory grows with the number of identities, not of images.
    """
    found_N = np.empty(len(label_N), np.int32) if out_N is None else out_N
    next_C = np.cumsum(np.concatenate([[0], label_counts(label_N)]))[:-1]
    for start in range(0, len(label_N), COLUMN_BLOCK):
        # NO_IDENTITY comes first.
        label_R = np.asarray(label_N[start : start + COLUMN_BLOCK], np.int64) - NO_IDENTITY
        order_R = np.argsort(label_R, kind="stable")
        sorted_R = label_R[order_R]
        found_N[next_C[sorted_R] + np.arange(len(sorted_R)) - np.searchsorted(sorted_R, sorted_R)] = start + order_R
        label_U, count_U = np.unique(sorted_R, return_counts=True)
        next_C[label_U] += count_U
    return found_N


def label_counts(label_N: np.ndarray) -> np.ndarray:
    """Number of images without identity, then of each identity, counted in blocks. int64 (C + 1,)"""
    count_C = np.zeros(1, np.int64)
    for start in range(0, len(label_N), COLUMN_BLOCK):
        found_C = np.bincount(np.asarray(label_N[start : start + COLUMN_BLOCK], np.int64) - NO_IDENTITY, minlength=len(count_C))
        found_C[: len(count_C)] += count_C
        count_C = found_C
    return count_C


def same_identity_lists(
    embeddings_ND: np.ndarray,
    label_N: np.ndarray,
    length: int,
    rows: range | None = None,
    by_label_N: np.ndarray | None = None,
) -> np.ndarray:
    """For each image, the other images of its identity, most similar first. int32 (N, length), padded with -1.

    rows: the images whose lists are returned, all by default. by_label_N: `rows_by_label`, where it is known.
    """
    rows = range(len(label_N)) if rows is None else rows
    by_label_N = rows_by_label(label_N) if by_label_N is None else by_label_N
    start_C = np.cumsum(np.concatenate([[0], label_counts(label_N)]))
    lists_RK = np.full((len(rows), length), NO_IDENTITY, np.int32)
    for label in np.unique(label_N[rows.start : rows.stop]):
        if label == NO_IDENTITY:
            continue
        all_X = by_label_N[start_C[label + 1] : start_C[label + 2]]
        own_X = np.flatnonzero((all_X >= rows.start) & (all_X < rows.stop))
        if len(all_X) > 1:
            nearest_XK = _nearest_mates(embeddings_ND[all_X], own_X, length)
            lists_RK[all_X[own_X] - rows.start, : nearest_XK.shape[1]] = all_X[nearest_XK]
    return lists_RK


def _nearest_mates(all_XD: np.ndarray, own_X: np.ndarray, length: int) -> np.ndarray:
    """Of all images of an identity, those nearest to its images `own_X`, without themselves. At most `length` each."""
    nearest_XK = np.empty((len(own_X), min(length, len(all_XD) - 1)), np.int64)
    for start in range(0, len(own_X), ROW_BLOCK):
        block = slice(start, start + ROW_BLOCK)
        place_B = own_X[block]
        # One and the same array for a whole identity: the product is then symmetric to the last bit.
        own_BD = all_XD if len(place_B) == len(all_XD) else all_XD[place_B]
        cosine_BX = own_BD @ all_XD.T
        cosine_BX[np.arange(len(place_B)), place_B] = -np.inf
        nearest_XK[block] = np.argsort(-cosine_BX, axis=1, kind="stable")[:, : nearest_XK.shape[1]]
    return nearest_XK


class Candidates(NamedTuple):
    """The images among which hard negatives are searched: M of all. normalised float32 (M, D); their rows, ascending, (M,)."""

    embeddings_MD: np.ndarray
    row_M: np.ndarray

    @classmethod
    def sample(cls, embeddings_ND: np.ndarray, count: int, out_MD: np.ndarray | None = None) -> "Candidates":
        """`count` random images, always the same. out_MD: an array for their embeddings, for example in a file."""
        key_K = np.random.default_rng(0).integers(0, 1 << 64, ROUNDS, dtype=np.uint64)
        # The first of a permutation that is computed, not stored.
        row_M = np.sort(permuted(np.arange(count, dtype=np.uint64), len(embeddings_ND), key_K).astype(np.int64))
        found_MD = np.empty((count, embeddings_ND.shape[1]), embeddings_ND.dtype) if out_MD is None else out_MD
        for start in range(0, count, COLUMN_BLOCK):
            block = slice(start, start + COLUMN_BLOCK)
            found_MD[block] = embeddings_ND[row_M[block]]
        return cls(found_MD, row_M)


def hard_lists(
    embeddings_ND: np.ndarray,
    label_N: np.ndarray,
    length: int,
    device: str = "cpu",
    rows: range | None = None,
    candidates: Candidates | None = None,
) -> np.ndarray:
    """For each image, the images of other identities with the most similar embeddings, most similar first.

    int32 (N, length), padded with -1 if fewer images of other identities exist. embeddings_ND: normalised float32. rows: the
    images whose lists are returned, all by default. candidates: the images that are searched, all by default.
    """
    rows = range(len(label_N)) if rows is None else rows
    found = candidates or Candidates(embeddings_ND, np.arange(0))
    lists_RK = np.full((len(rows), length), NO_IDENTITY, np.int32)
    columns_MD = torch.from_numpy(found.embeddings_MD)
    if fits(torch.device(device), columns_MD.nbytes):
        columns_MD = columns_MD.to(device)
    for block in progress(blocks_of(rows, ROW_BLOCK), len(rows), "hard negatives", "images"):
        queries_RD = torch.from_numpy(embeddings_ND[block.start : block.stop]).to(device)
        own_R = _identities(label_N, np.asarray(block)).to(device)
        best, index = _nearest_impostors(queries_RD, own_R, columns_MD, label_N, candidates and found.row_M, length)
        list_RK = index.cpu().numpy() if candidates is None else found.row_M[index.cpu().numpy()]
        list_RK[(best == -torch.inf).cpu().numpy()] = NO_IDENTITY
        lists_RK[block.start - rows.start : block.stop - rows.start, : list_RK.shape[1]] = list_RK
    return lists_RK


def _nearest_impostors(
    queries_RD: torch.Tensor,
    own_R: torch.Tensor,
    columns_MD: torch.Tensor,
    label_N: np.ndarray,
    row_M: np.ndarray | None,
    length: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and places among the columns of the running top `length` over blocks of columns. Both (rows, length).

    row_M: the rows of the columns, None where they are all rows.
    """
    best = index = torch.empty(0)
    for first in range(0, len(columns_MD), COLUMN_BLOCK):
        block = slice(first, min(first + COLUMN_BLOCK, len(columns_MD)))
        cosine = queries_RD @ columns_MD[block].to(queries_RD.device).T
        column_rows = np.arange(block.start, block.stop) if row_M is None else row_M[block]
        cosine.masked_fill_(own_R[:, None] == _identities(label_N, column_rows).to(own_R.device), -torch.inf)
        near, column = cosine.topk(min(length, cosine.shape[1]), dim=1)
        column += first
        if first > 0:
            near, column = torch.cat([best, near], 1), torch.cat([index, column], 1)
            near, order = near.topk(min(length, near.shape[1]), dim=1)
            column = column.gather(1, order)
        best, index = near, column
    return best, index


def _identities(label_N: np.ndarray, row_R: np.ndarray) -> torch.Tensor:
    """The labels of these images, int64; those without identity have one of their own."""
    label_R = np.asarray(label_N[row_R], np.int64)
    return torch.from_numpy(np.where(label_R == NO_IDENTITY, NO_IDENTITY - 1 - row_R, label_R))
