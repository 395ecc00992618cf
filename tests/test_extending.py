"""The code blocks of docs/extending.md run in order, on a tiny run."""

import importlib
import re
import runpy
import shlex
from pathlib import Path
from unittest import mock

import pytest

from aird_plugin.__main__ import main
from aird_plugin.data.degradation import DEGRADATIONS
from aird_plugin.losses.instance import IID
from aird_plugin.models.registry import NETWORKS
from tests.runs import metrics, write_recipe

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
BLOCKS = re.compile(r"^```(python|sh)\n(.*?)^```", re.M | re.S)


@pytest.fixture
def workspace(tiny_run, pairs_file, tmp_path, monkeypatch):
    """A working folder with recipe.py, pairs.bin and faces.csv, whose modules can be imported; registries are restored."""
    from aird_plugin.data.records import open_records

    keys = tiny_run | {"terms": {}, "num_epoch": 1}
    del keys["rid_negatives"]
    write_recipe(tmp_path / "recipe.py", keys)
    (tmp_path / "pairs.bin").write_bytes(Path(pairs_file).read_bytes())
    records, lines = open_records(tiny_run["rec"]), []
    for row, label in enumerate(records.labels):
        (tmp_path / f"{row}.jpg").write_bytes(records.payload(row))
        lines.append(f"{row}.jpg,identity {label}\n")
    (tmp_path / "faces.csv").write_text("".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with mock.patch.dict(NETWORKS), mock.patch.dict(DEGRADATIONS):
        yield tmp_path


def run_command(line: str) -> None:
    program, *words = shlex.split(line)
    if program == "python":
        runpy.run_path(words[0])
    else:
        assert program == "aird" and main(words) == 0, line


def run_blocks(section: str, folder: Path) -> None:
    """A Python block that begins with a file name is written to that file, another one is executed; commands are run."""
    for language, code in BLOCKS.findall(section):
        if language == "sh":
            for line in code.splitlines():
                run_command(line)
        elif named := re.match(r"# (\w+\.py)\n", code):
            (folder / named[1]).write_text(code)
        else:
            exec(compile(code, "docs/extending.md", "exec"), {"__name__": "extending"})


@pytest.mark.parametrize("title", SECTIONS)
def test_section_runs(title, workspace):
    run_blocks(SECTIONS[title], workspace)
    (run,) = (workspace / "runs").glob("*/recipe.json")
    logged = metrics(run.parent)
    assert logged and all(line["loss"] > 0 for line in logged)
    assert title != "A loss" or all(line["l2"] > 0 for line in logged)


def test_page_lists_every_need():
    """Each need of a loss or margin has a row in the table, and each row is needed by one."""
    listed = set(re.findall(r"^\| `(\w+)` \|", SECTIONS["A loss"], re.M)) - {"needs"}
    assert listed == needs_in_use()


def needs_in_use() -> set[str]:
    """The needs of every spec in aird_plugin/losses."""
    folder = Path(__file__).parents[1] / "aird_plugin" / "losses"
    modules = [importlib.import_module(f"aird_plugin.losses.{file.stem}") for file in folder.glob("*.py")]
    needs = {
        need
        for module in modules
        for spec in vars(module).values()
        if isinstance(spec, type) and not isinstance(getattr(spec, "needs", ()), property)
        for need in getattr(spec, "needs", ())
    }
    needs |= IID(leave_one_out=True).needs
    return {getattr(need, "value", need) for need in needs}
