"""Each tool starts as its usage line says: `python tools/NAME.py`, from any folder, without PYTHONPATH."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = sorted((Path(__file__).resolve().parents[2] / "tools").glob("*.py"))


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_the_repository_is_on_the_path_before_its_tools_are_imported(tool):
    inserted = False
    for node in ast.parse(tool.read_text()).body:
        inserted |= isinstance(node, ast.Expr) and "sys.path.insert" in ast.unparse(node)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tools":
            assert inserted, f"{tool.name} imports {node.module}, which Python finds in its own environment alone"


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_help(tool, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run([sys.executable, tool, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("usage:")
