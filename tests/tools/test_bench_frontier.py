import json
import sys

import pytest

pytest.importorskip("onnxruntime")

from tools import bench_frontier


def run(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["bench_frontier.py", *map(str, words)])
    return bench_frontier.main()


def test_networks_are_timed_in_one_table_and_a_second_call_goes_on(tmp_path, monkeypatch, capsys):
    names = ["native16_0.05m", "native8_0.05m_dw_prelu"]
    words = [tmp_path / "out", *names, "--turns", 1, "--embedding-size", 16]
    assert run(monkeypatch, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in names]
    assert lines[2].count("(1.00)") == 2
    known = json.loads((tmp_path / "out" / "frontier.json").read_text())
    for name in names:
        assert known[name]["faces_per_s"].keys() == {"fp32/1", "fp32/64", "int8/1", "int8/64"}
        assert abs(known[name]["parameters"] - 50_000) <= 2_500 and known[name]["megabytes"]["int8"] > 0
    known[names[0]]["faces_per_s"]["fp32/1"] = 1e12
    (tmp_path / "out" / "frontier.json").write_text(json.dumps(known))
    monkeypatch.setattr(bench_frontier, "export", None)
    assert run(monkeypatch, *words) == 0
    assert "1,000,000,000,000 (1.00)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="name another OUT"):
        run(monkeypatch, *words, "--px", 8)


def test_a_run_is_verified_too(tiny_run, pairs_file, tmp_path, monkeypatch, capsys):
    from aird_plugin.loop import train
    from aird_plugin.recipe import from_flat

    folder = train(from_flat(tiny_run | {"output": str(tmp_path / "run"), "num_epoch": 1}))
    words = [tmp_path / "out", folder, "--turns", 1, "--faces", pairs_file, "--count", 32, "--pairs", pairs_file]
    assert run(monkeypatch, *words) == 0
    known = json.loads((tmp_path / "out" / "frontier.json").read_text())[str(folder)]
    assert all(0 <= known["accuracy"][kind] <= 100 for kind in ("fp32", "int8"))
    assert f"{known['accuracy']['fp32']:.2f}; " in capsys.readouterr().out
