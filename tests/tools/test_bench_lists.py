import json
import sys

import numpy as np
import pytest

from aird_plugin.data.bank.neighbors import hard_lists
from aird_plugin.utils.vectors import normalise
from tools import bench_lists


def test_recall_of_a_half_is_a_half(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    embeddings = normalise(rng.normal(size=(400, 1, 8))).astype(np.float16)
    mean = normalise(embeddings.astype(np.float32)[:, 0])
    labels = np.arange(400, dtype=np.int32) // 2
    arrays = {"embeddings": embeddings, "person": labels, "centres": mean[::2], "same": labels[:, None]}
    for name, array in (arrays | {"hard": hard_lists(mean, labels, 20)}).items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "manifest.json").write_text("{}")
    out = tmp_path / "rows.json"
    monkeypatch.setattr(sys, "argv", ["bench_lists.py", str(tmp_path), "--shares", "0.5", "--length", "10", "--json", str(out)])
    assert bench_lists.main() == 0
    exact, half = json.loads(out.read_text())
    assert half["recall"] == pytest.approx(half["share"], abs=0.05) and half["share"] == 0.5
    assert exact["first"] > half["first"] > half["all"] > 0 and exact["all"] > half["all"]
    assert "lists of 10" in capsys.readouterr().out
