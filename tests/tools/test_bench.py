"""bench.py runs each part once with its options and puts all rows on one table."""

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import bench
from tools.lib import ratios

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


def test_failed_part_is_named_and_rerun_alone(parts, capsys):
    (parts / "broken").touch()
    assert bench.main() == 1
    printed = capsys.readouterr()
    assert "| thing | at least 2 | 3 | 2.5 to 3.5 | met | B=1 |" in printed.out and "other" not in printed.out
    assert "bad: failed, see" in printed.err
    assert "broken" in (parts / "out" / "bad.log").read_text()
    (parts / "broken").unlink()
    assert bench.main() == 0
    assert "| other |" in (parts / "out" / "bench.md").read_text()
    calls = (parts / "calls").read_text().splitlines()
    assert calls == ["--arcface-torch there --json", "--device cpu --json", "--device cpu --json"]


def test_rows_of_another_machine_are_not_put_below_this_ones_name(parts, monkeypatch, capsys):
    """After an upgrade of torch, or with --device cuda, the old rows stood below the new versions and the GPU."""
    assert bench.main() == 0
    monkeypatch.setattr(bench, "machine", lambda device: "another machine")
    assert bench.main() == 1
    assert "this is another machine; name another folder" in capsys.readouterr().err
    assert "another machine" not in (parts / "out" / "bench.md").read_text()


@pytest.mark.parametrize("part", bench.PARTS)
def test_every_part_accepts_its_options(part, tmp_path, monkeypatch):
    """The parser of each script accepts the command line that bench.py builds."""
    module, namespaces = importlib.import_module(f"tools.{Path(bench.PARTS[part][0]).stem}"), []
    parse = argparse.ArgumentParser.parse_args

    class Parsed(Exception):
        pass

    def parsed(self, *args):
        namespaces.append(parse(self, *args))
        raise Parsed

    def parse_only(command, **_):
        monkeypatch.setattr(sys, "argv", command[1:])
        with pytest.raises(Parsed):
            module.main()
        return SimpleNamespace(returncode=0)

    folders = {name: f"there/{name}" for name in ("arcface_torch", "mdistiller", "repdistiller", "mxnet_python", "pairs")}
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    monkeypatch.setattr(bench.subprocess, "run", parse_only)
    assert bench.measure(SimpleNamespace(out=tmp_path, device="cpu", **folders), part)
    assert namespaces[0].json == str(tmp_path / f"{part}.json")


def test_machine_line():
    assert "cores; Python 3" in bench.machine("cpu")
