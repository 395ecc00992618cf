"""Nearest neighbours: the product against brute force, and faiss against the product."""

from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.recognition import index as module
from aird_plugin.recognition.index import Index
from aird_plugin.utils.vectors import normalise
from tests.skips import needs


def vectors(count: int, seed: int, dim: int = 16) -> np.ndarray:
    return normalise(np.random.default_rng(seed).normal(size=(count, dim))).astype(np.float32)


def test_product_is_exact_in_blocks(monkeypatch):
    templates_ND, queries_QD = vectors(50, 0), vectors(7, 1)
    monkeypatch.setattr(module, "SCORES_AT_ONCE", 100)
    cosines_QK, rows_QK = Index(templates_ND).search(queries_QD, 3)
    expected_QN = queries_QD @ templates_ND.T
    np.testing.assert_array_equal(rows_QK, np.argsort(-expected_QN, axis=1)[:, :3])
    np.testing.assert_allclose(cosines_QK, -np.sort(-expected_QN, axis=1)[:, :3], atol=1e-6)
    assert Index(templates_ND).search(queries_QD, 99)[1].shape == (7, 50)
    assert Index(templates_ND).search(queries_QD[:0], 3)[0].shape == (0, 3)


@pytest.mark.parametrize(("kind", "recall"), [("flat", 1.0), ("hnsw", 0.99), ("ivfpq", 0.9)])
def test_faiss_finds_the_nearest_with_exact_cosines(kind, recall):
    needs("faiss")
    templates_ND = vectors(10_000, 0)
    queries_QD = normalise(templates_ND[:200] + 0.5 * vectors(200, 2)).astype(np.float32)
    exact = Index(templates_ND, "product").search(queries_QD, 1)
    cosines_QK, rows_QK = Index(templates_ND, kind).search(queries_QD, 1)
    same_Q = rows_QK[:, 0] == exact[1][:, 0]
    assert same_Q.mean() >= recall
    np.testing.assert_allclose(cosines_QK[same_Q], exact[0][same_Q], atol=1e-6)


def test_faiss_is_named_where_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(ImportError, match=r"aird_plugin\[faiss\]"):
        Index(vectors(11, 0), "flat")
    with pytest.raises(ValueError, match="index must be one of"):
        Index(vectors(3, 0), "tree")


def test_too_few_templates_for_ivfpq_are_refused():
    needs("faiss")
    with pytest.raises(ValueError, match="too few to train IVF-PQ"):
        Index(vectors(9000, 0), "ivfpq")


def test_ivfpq_searches_a_quarter_of_its_cells_at_any_size():
    class Faiss:
        METRIC_INNER_PRODUCT = 0
        IndexFlatIP = staticmethod(lambda dim: None)
        IndexIVFPQ = staticmethod(lambda flat, dim, cells, *_: SimpleNamespace(nlist=cells, train=lambda sample_SD: None))

    for count in (10_000, 100_000):
        index = module._ivfpq(Faiss, np.zeros((count, 4), np.float32))
        assert index.nprobe == pytest.approx(index.nlist / 4, abs=1)
