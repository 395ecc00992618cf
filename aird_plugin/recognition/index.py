"""Nearest templates by cosine: one matrix product, or faiss for larger galleries.

Q = queries, N = templates, D = embedding width, K = neighbours.
"""

from typing import Any

import numpy as np
import torch

KINDS = ("product", "flat", "hnsw", "ivfpq")
SCORES_AT_ONCE = 1 << 26
# M and efConstruction are faiss's usual ones.
HNSW_NEIGHBOURS, HNSW_BUILD, HNSW_SEARCH = 32, 100, 256
# A quarter of the cells: embeddings are so spread that 1.6% of them hold 44% of the nearest templates at 10^6 (docs/scale.md).
IVF_SHARE_SEARCHED, PQ_BITS = 0.25, 8
# Below this faiss warns that k-means has too few points.
POINTS_A_CENTER = 39
# An approximate index proposes this many candidates per neighbour; their cosines are then computed exactly.
CANDIDATES = 10
MISSING = "an index of more than a matrix product needs faiss: `pip install aird_plugin[faiss]`"


class Index:
    """A search structure over unit vectors, float32 (N, D).

    kind: "product", or faiss's "flat" (both exact), "hnsw" or "ivfpq" (approximate candidates, exact cosines).

    Raises ImportError where faiss is missing, and ValueError for another kind or too few templates to train IVF-PQ.
    """

    def __init__(self, templates_ND: np.ndarray, kind: str = "product"):
        if kind not in KINDS:
            raise ValueError(f"index must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind, self.templates_ND = kind, np.ascontiguousarray(templates_ND, np.float32)
        self.faiss_index: Any = None if kind == "product" else build_faiss(self.templates_ND, kind)

    def search(self, queries_QD: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """The `top` nearest templates of each query: cosines float32 (Q, K) descending and rows (Q, K), K at most N.

        An approximate index that finds fewer gives row -1 and cosine -inf.
        """
        queries_QD = np.ascontiguousarray(queries_QD, np.float32)
        top = min(top, len(self.templates_ND))
        if self.kind == "product":
            return self._product(queries_QD, top)
        if self.kind == "flat":
            return self.faiss_index.search(queries_QD, top)
        _, rows_QC = self.faiss_index.search(queries_QD, min(CANDIDATES * top, len(self.templates_ND)))
        cosines_QC = np.einsum("qd,qcd->qc", queries_QD, self.templates_ND[rows_QC])
        cosines_QC = np.where(rows_QC < 0, -np.inf, cosines_QC).astype(np.float32)
        best_QK = np.argsort(-cosines_QC, axis=1, kind="stable")[:, :top]
        return np.take_along_axis(cosines_QC, best_QK, 1), np.take_along_axis(rows_QC, best_QK, 1)

    def _product(self, queries_QD: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Exact search in blocks of queries, at most 256 MiB of scores at a time."""
        # torch.topk takes a tenth of the time of NumPy's argpartition.
        templates_DN = torch.from_numpy(self.templates_ND).T
        blocks = torch.from_numpy(queries_QD).split(max(1, SCORES_AT_ONCE // len(self.templates_ND)))
        parts = [(block_BD @ templates_DN).topk(top, 1) for block_BD in blocks]
        return torch.cat([part.values for part in parts]).numpy(), torch.cat([part.indices for part in parts]).numpy()


def build_faiss(templates_ND: np.ndarray, kind: str) -> Any:
    """A faiss index by inner product, filled."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(MISSING) from error
    dim = templates_ND.shape[1]
    index: Any
    if kind == "flat":
        index = faiss.IndexFlatIP(dim)
    elif kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = HNSW_BUILD, HNSW_SEARCH
    else:
        index = _ivfpq(faiss, templates_ND)
    index.add(templates_ND)
    return index


def _ivfpq(faiss: Any, templates_ND: np.ndarray) -> Any:
    """A trained IVF-PQ index: 4 sqrt(N) cells, one byte for each four dimensions."""
    count, dim = templates_ND.shape
    cells = min(int(4 * np.sqrt(count)), count // POINTS_A_CENTER)
    if count < POINTS_A_CENTER << PQ_BITS:
        raise ValueError(f"{count} templates are too few to train IVF-PQ; use index='product' or 'hnsw'")
    parts = next(parts for parts in range(max(1, dim // 4), 0, -1) if dim % parts == 0)
    index = faiss.IndexIVFPQ(faiss.IndexFlatIP(dim), dim, cells, parts, PQ_BITS, faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(0).choice(count, min(count, 64 * max(cells, 1 << PQ_BITS)), replace=False)
    index.train(templates_ND[np.sort(sample)])
    index.nprobe = max(1, round(IVF_SHARE_SEARCHED * cells))
    return index
