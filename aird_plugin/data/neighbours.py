"""Who is the same person, and who is another person that the teacher finds alike: lists over the teacher's embeddings.

Everything runs in blocks of rows, so memory does not grow with N x N. The search costs N * N * D multiply-adds: 0.03 TFLOP
for 15,000 faces of 128, 250 TFLOP for CASIA's 494,414 of 512 (about an hour on a CPU that does 100 GFLOP/s, under a minute
on a data-centre GPU).

N = faces, D = embedding width, C = people, K = length of a list.
"""

import numpy as np
import torch

from aird_plugin.data.shelf import fits
from aird_plugin.progress import progress

ROW_BLOCK = 1024
COLUMN_BLOCK = 65536
NOBODY = -1


def class_means(embeddings_ND: np.ndarray, person_N: np.ndarray, num_people: int) -> np.ndarray:
    """Normalised mean embedding of each person. float32 (C, D); a person without a face has a row of zeros."""
    sums_CD = np.zeros((num_people, embeddings_ND.shape[1]), np.float64)
    np.add.at(sums_CD, person_N, embeddings_ND)
    return normalised(sums_CD).astype(np.float32)


def normalised(rows_ND: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays."""
    return rows_ND / np.maximum(np.linalg.norm(rows_ND, axis=1, keepdims=True), 1e-12)


def same_person_lists(embeddings_ND: np.ndarray, person_N: np.ndarray, length: int) -> np.ndarray:
    """For each face the other faces of its person, the most alike first. int32 (N, length), filled up with -1."""
    lists_NK = np.full((len(person_N), length), NOBODY, np.int32)
    by_person = np.argsort(person_N, kind="stable")
    starts = np.flatnonzero(np.diff(person_N[by_person], prepend=-1))
    for rows in np.split(by_person, starts[1:]):
        if len(rows) > 1:
            alike = embeddings_ND[rows] @ embeddings_ND[rows].T
            np.fill_diagonal(alike, -np.inf)
            nearest = np.argsort(-alike, axis=1, kind="stable")[:, : min(length, len(rows) - 1)]
            lists_NK[rows, : nearest.shape[1]] = rows[nearest]
    return lists_NK


def hard_lists(embeddings_ND: np.ndarray, person_N: np.ndarray, length: int, device: str = "cpu") -> np.ndarray:
    """For each face the faces of other people that the teacher finds most alike, nearest first.

    int32 (N, length), filled up with -1 where fewer faces of other people exist. `embeddings_ND` are normalised float32.
    """
    total = len(person_N)
    lists_NK = np.full((total, length), NOBODY, np.int32)
    columns_ND = torch.from_numpy(embeddings_ND)
    if fits(torch.device(device), columns_ND.nbytes):
        columns_ND = columns_ND.to(device)
    person = torch.from_numpy(np.asarray(person_N, np.int64)).to(device)
    blocks = (range(first, min(first + ROW_BLOCK, total)) for first in range(0, total, ROW_BLOCK))
    for block in progress(blocks, total, "hard faces of other people", "faces"):
        rows = slice(block.start, block.stop)
        best, index = _nearest_strangers(columns_ND, person, rows, min(length, total), device)
        index[best == -torch.inf] = NOBODY
        lists_NK[rows, : index.shape[1]] = index.cpu().numpy()
    return lists_NK


def _nearest_strangers(columns_ND, person_N, rows: slice, length: int, device: str):
    """Running top `length` over blocks of columns. Both (rows, length)."""
    queries = columns_ND[rows].to(device)
    best, index = None, None
    for first in range(0, len(columns_ND), COLUMN_BLOCK):
        block = slice(first, first + COLUMN_BLOCK)
        alike = queries @ columns_ND[block].to(device).T
        alike.masked_fill_(person_N[rows][:, None] == person_N[block], -torch.inf)
        near, place = alike.topk(min(length, alike.shape[1]), dim=1)
        place += first
        if best is not None:
            near, place = torch.cat([best, near], 1), torch.cat([index, place], 1)
            near, order = near.topk(min(length, near.shape[1]), dim=1)
            place = place.gather(1, order)
        best, index = near, place
    return best, index
