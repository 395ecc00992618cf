"""The training of both sides of one row."""

import shutil
import sys
from pathlib import Path

import pytest

from tools import bench_training
from tools.lib import ratios
from tools.lib.training_pairs import AIRD, BARE, Pair


@pytest.fixture
def small(tiny_run, tmp_path, monkeypatch):
    """faces15k has 48 images, and the only row trains a tiny student."""
    shutil.copytree(tiny_run["rec"], tmp_path / "data" / "faces15k")
    monkeypatch.setenv("AIRD_DATA", str(tmp_path / "data"))
    aird, bare = (AIRD, ["rid_negatives=8"]), (BARE, [])
    row = Pair("small", ratios.AT_MOST, 1e9, aird, bare, ["network=native16_0.05m", "batch_size=8"])
    monkeypatch.setattr(bench_training, "pairs", lambda device: {"small": row})
    monkeypatch.setattr(sys, "argv", ["x", "--turns", "2", "--steps", "1", "--json", str(tmp_path / "rows.json")])
    return tmp_path / "rows.json"


def test_both_sides_of_a_row_train(small, capsys):
    assert bench_training.main() == 0
    assert "| small | at most 1e+09 |" in capsys.readouterr().out
    assert Path(small).exists()


def test_unknown_row_is_named(small, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "aird-nativ"])
    with pytest.raises(SystemExit):
        bench_training.main()
    assert "no row aird-nativ on cpu; there are small" in capsys.readouterr().err
