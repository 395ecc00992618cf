"""Nearest templates by cosine: one matrix product, or faiss beyond about 100,000 templates.

Q = queries, N = templates, D = embedding width, K = neighbours.
"""

from typing import Any

import numpy as np

KINDS = ("auto", "product", "flat", "hnsw", "ivfpq")
PRODUCT_UP_TO = 100_000
SCORES_AT_ONCE = 1 << 26
# M and efConstruction are faiss's usual ones; the search widths are for a recall above 95% at 10^6 (docs/scale.md).
HNSW_NEIGHBOURS, HNSW_BUILD, HNSW_SEARCH = 32, 100, 256
IVF_CELLS_SEARCHED, PQ_BITS = 64, 8
# Below this faiss warns that k-means has too few points.
POINTS_A_CENTER = 39
# An approximate index proposes this many candidates a neighbour; their cosines are then computed exactly.
CANDIDATES = 10
MISSING = "an index of more than a matrix product needs faiss: `pip install aird_plugin[faiss]`"


class Index:
    """A search structure over unit vectors, float32 (N, D).

    kind: "product", or faiss's "flat" (both exact), "hnsw" or "ivfpq" (approximate candidates, exact cosines); "auto" is the
    product up to 100,000 templates and flat beyond. Raises ImportError where faiss is missing, and ValueError for another kind
    or too few templates to train IVF-PQ.
    """

    def __init__(self, templates_ND: np.ndarray, kind: str = "auto"):
        if kind not in KINDS:
            raise ValueError(f"index must be one of {', '.join(KINDS)}, got {kind!r}")
        if kind == "auto":
            kind = "product" if len(templates_ND) <= PRODUCT_UP_TO else "flat"
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
        _, rows_QK = self.faiss_index.search(queries_QD, min(CANDIDATES * top, len(self.templates_ND)))
        cosines_QK = np.einsum("qd,qkd->qk", queries_QD, self.templates_ND[rows_QK])
        return _best(np.where(rows_QK < 0, -np.inf, cosines_QK).astype(np.float32), top, rows_QK)

    def _product(self, queries_QD: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Exact search in blocks of queries, at most 256 MiB of scores at a time."""
        step = max(1, SCORES_AT_ONCE // len(self.templates_ND))
        parts = [_best(queries_QD[i : i + step] @ self.templates_ND.T, top) for i in range(0, len(queries_QD), step)]
        cosines, rows = zip(*parts, strict=True) if parts else ([np.empty((0, top), np.float32)], [np.empty((0, top), int)])
        return np.concatenate(cosines), np.concatenate(rows)


def _best(cosines_QN: np.ndarray, top: int, rows_QN: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The `top` highest of each row, descending; the lower column first where two are equal."""
    if top < cosines_QN.shape[1]:
        part_QK = np.sort(np.argpartition(-cosines_QN, top - 1, axis=1)[:, :top], axis=1)
    else:
        part_QK = np.broadcast_to(np.arange(cosines_QN.shape[1]), cosines_QN.shape)
    part_cosines = np.take_along_axis(cosines_QN, part_QK, 1)
    order_QK = np.argsort(-part_cosines, axis=1, kind="stable")[:, :top]
    found_QK = np.take_along_axis(part_QK, order_QK, 1)
    rows_QK = found_QK if rows_QN is None else np.take_along_axis(rows_QN, found_QK, 1)
    return np.take_along_axis(part_cosines, order_QK, 1), rows_QK


def build_faiss(templates_ND: np.ndarray, kind: str) -> Any:
    """A faiss index by inner product, filled."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError(MISSING) from error
    count, dim = templates_ND.shape
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
    index.nprobe = IVF_CELLS_SEARCHED
    return index
