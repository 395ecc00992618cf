import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tools import bench_evaluation

STANDIN = Path(__file__).parents[1] / "bridge" / "standin"


def run(monkeypatch, *words) -> int:
    monkeypatch.delenv("ARCFACE_TORCH", raising=False)
    monkeypatch.setattr(sys, "argv", ["bench_evaluation.py", *map(str, words)])
    return bench_evaluation.main()


def test_missing_checkout_and_pairs_are_reported(monkeypatch, capsys):
    assert run(monkeypatch) == 0
    out = capsys.readouterr().out
    assert "no --arcface-torch DIR" in out and "no --pairs FILE" in out


@pytest.mark.slow
def test_rows_of_both_functions(monkeypatch, tmp_path):
    words = ["--arcface-torch", STANDIN, "--drawn", 200, "--turns", 2, "--json", tmp_path / "rows.json"]
    assert run(monkeypatch, *words) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["what"] for row in rows] == [
        "200 pairs, 10 folds, 512-d: calculate_roc / fold_rates",
        "200 pairs, 10 folds, 512-d: evaluate / verify",
    ]
    assert all(row["target"] == 80 and row["ratio"] > 0 and "bit-identical" in row["detail"] for row in rows)


@pytest.mark.parametrize("changed", ["tpr_FT", "fpr_FT", "accuracy_F"])
def test_one_differing_bit_exits(monkeypatch, changed):
    def off_by_a_bit(*args):
        rates = fold_rates(*args)
        return rates._replace(**{changed: np.nextafter(getattr(rates, changed), 2)})

    fold_rates = bench_evaluation.fold_rates
    monkeypatch.setattr(bench_evaluation, "fold_rates", off_by_a_bit)
    with pytest.raises(SystemExit, match="not bit-identical"):
        run(monkeypatch, "--arcface-torch", STANDIN, "--drawn", 200, "--turns", 1)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_memory_row_of_a_separate_process(monkeypatch, tmp_path, pairs_file):
    words = ["--arcface-torch", STANDIN, "--drawn", 40, "--turns", 1, "--pairs", pairs_file, "--json", tmp_path / "rows.json"]
    assert run(monkeypatch, *words) == 0
    *_, row = json.loads((tmp_path / "rows.json").read_text())
    assert row["what"] == "GiB for 40 pairs" and (row["bound"], row["target"]) == ("at most", 0.5) and 0 < row["ratio"] < 2
    assert row["detail"].startswith(f"ours {row['ratio']:.2f} GiB") and "theirs" in row["detail"]
