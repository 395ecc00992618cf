"""The benchmarks' parts are run once each, told what they take, and put on one table."""

import json
import sys

import pytest

from aird_plugin import ratios
from tools import bench

PART = """
import json, pathlib, sys
pathlib.Path({folder!r}, "calls").open("a").write(" ".join(sys.argv[1:-1]) + "\\n")
if {fails}:
    sys.exit("broken")
pathlib.Path(sys.argv[-1]).write_text(json.dumps([{row}]))
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Two parts; the second fails while the file "broken" is there."""
    row = ratios.Row("thing", ratios.AT_LEAST, 2.0, 3.0, 2.5, 3.5, "B=1")._asdict()
    (tmp_path / "good.py").write_text(PART.format(folder=str(tmp_path), fails=False, row=json.dumps(row)))
    there = f"pathlib.Path({str(tmp_path)!r}, 'broken').exists()"
    (tmp_path / "bad.py").write_text(PART.format(folder=str(tmp_path), fails=there, row=json.dumps(row | {"what": "other"})))
    monkeypatch.setattr(bench, "HERE", tmp_path)
    monkeypatch.setattr(bench, "PARTS", {"good": ("good.py", ["arcface_torch"]), "bad": ("bad.py", ["device"])})
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "out"), "--arcface-torch", "there"])
    return tmp_path


def test_a_part_that_failed_is_named_and_only_it_runs_again(parts, capsys):
    (parts / "broken").touch()
    assert bench.main() == 1
    told = capsys.readouterr()
    assert "| thing | at least 2 | 3 | 2.5 to 3.5 | met | B=1 |" in told.out and "other" not in told.out
    assert "bad: failed, see" in told.err
    assert "broken" in (parts / "out" / "bad.log").read_text()
    (parts / "broken").unlink()
    assert bench.main() == 0
    assert "| other |" in (parts / "out" / "bench.md").read_text()
    calls = (parts / "calls").read_text().splitlines()
    assert calls == ["--arcface-torch there --json", "--device cpu --json", "--device cpu --json"]


def test_every_part_names_a_script_that_is_there():
    for script, _ in bench.PARTS.values():
        assert (bench.HERE / script).exists()


def test_the_machine_is_told():
    assert "cores; Python 3" in bench.machine("cpu")
