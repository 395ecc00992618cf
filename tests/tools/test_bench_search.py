"""The identities of the search benchmark, its table, and the galleries that it enrols."""

import json
import sys

import numpy as np

from tests.skips import needs
from tools import bench_search


def test_queries_have_the_stated_cosine_and_the_variances_fall():
    templates_ND, queries_ND = bench_search.identities(4000, 64, 1, (0.95, 0.6 / 0.95))
    assert templates_ND.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(templates_ND, axis=1), 1, atol=1e-5)
    own_N = (templates_ND * queries_ND).sum(1)
    # The norm of a sum of 64 normal variables varies by a tenth, which moves the mean of the ratio by less than 0.02.
    assert abs(own_N.mean() - 0.6) < 0.02 and abs((templates_ND * np.roll(queries_ND, 1, 0)).sum(1).mean()) < 0.01
    spread_D = np.sort(np.linalg.eigvalsh(np.cov(templates_ND.T)))[::-1]
    assert abs(spread_D[0] / spread_D[15] - 4) < 0.6
    np.testing.assert_array_equal(templates_ND, bench_search.identities(4000, 64, 1, (0.95, 0.6 / 0.95))[0])


def test_one_row_for_each_index(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", f"bench_search.py --templates 600 --index product ivfpq --json {tmp_path}/r.json".split())
    assert bench_search.main() == 0
    product, ivfpq = json.loads((tmp_path / "r.json").read_text())
    assert product["recall"] == 1 and 0.9 < product["found"] <= 1 and product["alone_ms"] > 0
    assert "too few to train" in ivfpq["error"] or "needs faiss" in ivfpq["error"]
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| 600 |") for line in lines) == 2


def test_gallery_of_many_faces():
    needs("insightface.app.common")
    text = bench_search.enrol(200, 16)
    assert text.startswith("200 identities, 16-d: enrol ") and "next search of 50" in text
