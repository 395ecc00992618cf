"""Nearest neighbors by teacher embedding: lists of images of the same identity and of hard negatives.

The search runs in blocks of rows, so memory does not grow with N x N. It costs N * N * D multiply-adds: 0.03 TFLOP for 15,000
images of width 128, 250 TFLOP for CASIA's 494,414 of width 512 (about an hour on a CPU with 100 GFLOP/s, under a minute on a
data-center GPU).

An image of label NO_IDENTITY counts as an identity of its own, without a center.

N = images, D = embedding width, C = identities, K = length of a list.
"""

import numpy as np
import torch

from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.device_array import fits
from aird_plugin.utils.progress import progress

ROW_BLOCK = 1024
COLUMN_BLOCK = 65536


def class_means(embeddings_ND: np.ndarray, label_N: np.ndarray, num_classes: int) -> np.ndarray:
    """Normalised mean embedding of each identity. float32 (C, D); an identity without images has a row of zeros."""
    sums_CD = np.zeros((num_classes, embeddings_ND.shape[1]), np.float64)
    known_N = label_N != NO_IDENTITY
    np.add.at(sums_CD, label_N[known_N], embeddings_ND[known_N])
    return normalised(sums_CD).astype(np.float32)


def normalised(rows_ND: np.ndarray) -> np.ndarray:
    """L2-normalise the rows; a row of zeros stays."""
    return rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)


def same_identity_lists(embeddings_ND: np.ndarray, label_N: np.ndarray, length: int) -> np.ndarray:
    """For each image, the other images of its identity, most similar first. int32 (N, length), padded with -1."""
    lists_NK = np.full((len(label_N), length), NO_IDENTITY, np.int32)
    by_label = np.argsort(label_N, kind="stable")
    by_label = by_label[label_N[by_label] != NO_IDENTITY]
    starts = np.flatnonzero(np.diff(label_N[by_label], prepend=NO_IDENTITY))
    for rows in np.split(by_label, starts[1:]):
        if len(rows) > 1:
            cosine = embeddings_ND[rows] @ embeddings_ND[rows].T
            np.fill_diagonal(cosine, -np.inf)
            nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : min(length, len(rows) - 1)]
            lists_NK[rows, : nearest.shape[1]] = rows[nearest]
    return lists_NK


def hard_lists(embeddings_ND: np.ndarray, label_N: np.ndarray, length: int, device: str = "cpu") -> np.ndarray:
    """For each image, the images of other identities with the most similar embeddings, most similar first.

    int32 (N, length), padded with -1 if fewer images of other identities exist. embeddings_ND: normalised float32.
    """
    total = len(label_N)
    lists_NK = np.full((total, length), NO_IDENTITY, np.int32)
    columns_ND = torch.from_numpy(embeddings_ND)
    if fits(torch.device(device), columns_ND.nbytes):
        columns_ND = columns_ND.to(device)
    own_N = NO_IDENTITY - 1 - np.arange(total)
    labels = torch.from_numpy(np.where(label_N == NO_IDENTITY, own_N, np.asarray(label_N, np.int64))).to(device)
    blocks = (range(first, min(first + ROW_BLOCK, total)) for first in range(0, total, ROW_BLOCK))
    for block in progress(blocks, total, "hard negatives", "images"):
        rows = slice(block.start, block.stop)
        best, index = _nearest_impostors(columns_ND, labels, rows, min(length, total), device)
        index[best == -torch.inf] = NO_IDENTITY
        lists_NK[rows, : index.shape[1]] = index.cpu().numpy()
    return lists_NK


def _nearest_impostors(
    columns_ND: torch.Tensor, label_N: torch.Tensor, rows: slice, length: int, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and indices of the running top `length` over blocks of columns. Both (rows, length)."""
    queries = columns_ND[rows].to(device)
    best = index = torch.empty(0)
    for first in range(0, len(columns_ND), COLUMN_BLOCK):
        block = slice(first, first + COLUMN_BLOCK)
        cosine = queries @ columns_ND[block].to(device).T
        cosine.masked_fill_(label_N[rows][:, None] == label_N[block], -torch.inf)
        near, column = cosine.topk(min(length, cosine.shape[1]), dim=1)
        column += first
        if first > 0:
            near, column = torch.cat([best, near], 1), torch.cat([index, column], 1)
            near, order = near.topk(min(length, near.shape[1]), dim=1)
            column = column.gather(1, order)
        best, index = near, column
    return best, index
