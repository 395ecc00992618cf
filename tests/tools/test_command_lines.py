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


def test_help_of_each_tool(tmp_path):
    """Torch is imported once, and each tool starts in a fork, its own folder first on the path as for `python tools/NAME.py`."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", START_EACH, *map(str, TOOLS)]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    printed = {tool.stem: (tmp_path / tool.stem).read_text() for tool in TOOLS}
    assert {name: text for name, text in printed.items() if not text.startswith("usage:")} == {}
    assert run.returncode == 0, run.stderr


START_EACH = """
import os, runpy, sys, traceback
import torch, onnxruntime

def start(tool):
    sys.stdout = sys.stderr = open(os.path.splitext(os.path.basename(tool))[0], "w")
    sys.argv, sys.path[0] = [tool, "--help"], os.path.dirname(tool)
    try:
        runpy.run_path(tool, run_name="__main__")
    except SystemExit as stop:
        return stop.code or 0
    except BaseException:
        traceback.print_exc()
    return 1

failed = 0
for tool in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        code = start(tool)
        sys.stdout.flush()
        os._exit(code)
    failed |= os.waitpid(child, 0)[1]
sys.exit(failed != 0)
"""
