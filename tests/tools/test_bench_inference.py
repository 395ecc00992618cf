import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from tests.skips import needs
from tools import bench_inference

needs("onnxruntime")


def run(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["bench_inference.py", *map(str, words)])
    return bench_inference.main()


def test_one_table_and_a_second_call_resumes(tmp_path, monkeypatch, capsys):
    names = ["native16_0.05m", "native8_0.05m_dw_prelu"]
    words = [tmp_path / "out", *names, "--turns", 1, "--embedding-size", 16]
    assert run(monkeypatch, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7 and [line.split(" | ")[0] for line in lines[5:]] == [f"| {name}" for name in names]
    assert lines[5].count("(1.00)") == 2
    known = json.loads((tmp_path / "out" / "frontier.json").read_text())
    for name in names:
        assert known[name]["faces_per_s"].keys() == {"fp32/1", "fp32/64", "int8/1", "int8/64"}
        assert abs(known[name]["parameters"] - 50_000) <= 2_500 and known[name]["megabytes"]["int8"] > 0
    known[names[0]]["faces_per_s"]["fp32/1"] = 1e12
    (tmp_path / "out" / "frontier.json").write_text(json.dumps(known))
    monkeypatch.setattr(bench_inference, "export", None)
    assert run(monkeypatch, *words) == 0
    assert "1,000,000,000,000 (1.00)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="name another OUT"):
        run(monkeypatch, *words, "--px", 8)


@pytest.mark.slow
def test_one_table_per_thread_count_and_the_target_row(tmp_path, monkeypatch, capsys):
    names = ["native16_0.05m", "native8_0.05m_dw_prelu"]
    monkeypatch.setattr(bench_inference, "SMALL", names[0])
    monkeypatch.setattr(bench_inference, "LARGE", names[1])
    words = [tmp_path / "out", *names, "--turns", 2, "--embedding-size", 16, "--threads", 1, 0, "--json", tmp_path / "rows.json"]
    assert run(monkeypatch, *words) == 0
    out = capsys.readouterr().out
    assert out.index("1 thread(s)") < out.index("all cores") and out.count("| native16_0.05m |") == 2
    rates = json.loads((tmp_path / "out" / "frontier.json").read_text())[names[0]]["faces_per_s"]
    kinds = ("fp32/1", "fp32/64", "int8/1", "int8/64")
    assert rates.keys() == {*kinds, *(f"{kind}/0" for kind in kinds)} and min(rates.values()) > 0
    [row] = json.loads((tmp_path / "rows.json").read_text())
    assert row["target"] == 150 and row["bound"] == "at least" and row["low"] <= row["ratio"] <= row["high"] and row["ratio"] > 0
    assert f"{names[0]} at 16 px / {names[1]} at 112 px" in out and "images/s |" in out


def test_target_row_is_per_image(monkeypatch):
    """Both networks take 1 s per image, with 2 and 300 images a turn: the ratio is 1."""
    monkeypatch.setattr(bench_inference, "prepare", lambda file, batch, threads: lambda: None)
    counted = {"mbf": [2.0, 2.0], "native16_0.2m": [300.0, 300.0]}
    monkeypatch.setattr(bench_inference, "in_turns", lambda calls, turns: counted)
    row = bench_inference.target_row(Namespace(out=Path("out"), turns=2))
    assert row.ratio == 1 and not row.met and "1 against 1 images/s" in row.detail


def test_run_folder_is_also_verified(tiny_run, pairs_file, tmp_path, monkeypatch, capsys):
    from aird_plugin.config.recipe import from_flat
    from aird_plugin.training.loop import train

    folder = train(from_flat(tiny_run | {"output": str(tmp_path / "run"), "num_epoch": 1}))
    words = [tmp_path / "out", folder, "--turns", 1, "--faces", pairs_file, "--count", 32, "--pairs", pairs_file]
    assert run(monkeypatch, *words) == 0
    known = json.loads((tmp_path / "out" / "frontier.json").read_text())[str(folder)]
    assert all(0 <= known["accuracy"][kind] <= 100 for kind in ("fp32", "int8"))
    assert f"{known['accuracy']['fp32']:.2f}; " in capsys.readouterr().out
