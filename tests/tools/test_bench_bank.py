import json
import sys

import pytest

from tools import bench_bank

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="private memory is read from /proc")]


def rows_of(monkeypatch, folder, words: str) -> list[dict]:
    monkeypatch.setattr(
        sys, "argv", ["bench_bank.py", *words.split(), "--scratch", str(folder), "--json", str(folder / "r.json")]
    )
    assert bench_bank.main() == 0
    assert [path.name for path in folder.iterdir()] == ["r.json"], "the scratch folder is removed"
    return json.loads((folder / "r.json").read_text())


def test_banks_of_two_ranks_and_of_a_killed_one_are_equal(tiny_run, tmp_path, monkeypatch, capfd):
    words = f"build --images 48 --shard 8 --turns 1 --rec {tiny_run['rec']} --teacher {tiny_run['teacher']}"
    (row,) = rows_of(monkeypatch, tmp_path, f"{words} --teacher-network {tiny_run['teacher_network']}")
    assert row["what"] == "time of building a bank by 2 ranks / by one" and row["ratio"] > 0
    assert "rank 1 was killed, rank 0 finished the bank" in capfd.readouterr().err


def test_a_synthetic_bank_is_opened_and_trained_from(tmp_path, monkeypatch):
    memory, first = rows_of(monkeypatch, tmp_path, "open --images 5000 --shard 1024 --identities 100 --batch 8 --turns 1")
    assert 0.1 < memory["ratio"] < 1 and "5,000 images, 100 identities, 2 ranks" in memory["detail"]
    assert first["ratio"] > 0
