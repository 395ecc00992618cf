"""Every entry point limits OpenMP spinning in the environment before it imports torch."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aird_plugin.utils.threads import SPINS, WAITING, bound_spinning, usable_cores

ROOT = Path(__file__).parents[2]
# Prints the variable when torch is first imported, and ends the process there.
WATCH = """
import os, runpy, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"))
            sys.stdout.flush()
            os._exit(0)
sys.meta_path.insert(0, Watch())
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]) or ".")
sys.path.insert(0, os.getcwd())
run = runpy.run_path if sys.argv[0].endswith(".py") else runpy.run_module
run(sys.argv[0], run_name="__main__")
"""
TOOLS = sorted(path for path in (ROOT / "tools").glob("*.py") if 'if __name__ == "__main__"' in path.read_text())
# Runs under fuzz.py, and must import nothing of the package before its instrumentation is installed.
GUIDED = "fuzz_guided.py"
# Modules of the package that import nothing but the standard library.
LIGHT = ("aird_plugin.utils.threads", "aird_plugin.cli.recipe_arguments", "aird_plugin.utils.errors", "aird_plugin.utils.paths")


def at_import_of_torch(*words: str, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key not in WAITING}
    command, env = [sys.executable, "-c", WATCH, *words], clean | environment
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ("train.py", "recipes/quickstart/quickstart.py"),
        ("aird_plugin", "train", "recipes/quickstart/quickstart.py"),
        ("tools/bench_losses.py",),
    ],
    ids=" ".join,
)
def test_spin_limit_is_set_before_torch_is_imported(words):
    assert at_import_of_torch(*words) == SPINS


@pytest.mark.parametrize(("name", "value"), [("GOMP_SPINCOUNT", "7"), ("OMP_WAIT_POLICY", "PASSIVE"), ("KMP_BLOCKTIME", "1")])
def test_user_setting_is_kept(name, value):
    found = at_import_of_torch("train.py", "recipes/quickstart/quickstart.py", **{name: value})
    assert found == (value if name == "GOMP_SPINCOUNT" else "None")


def test_thread_count_does_not_disable_the_spin_limit(monkeypatch):
    for name in WAITING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bound_spinning()
    assert os.environ["GOMP_SPINCOUNT"] == SPINS


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.name)
def test_every_tool_sets_the_spin_limit_first(path):
    """At the top, before the first import that loads torch, or first in main() where those imports are inside it."""
    if path.name == GUIDED:
        return
    called = False
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Expr) and ast.unparse(node) == "bound_spinning()":
            called = True
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            light = module.split(".")[0] in sys.stdlib_module_names or module in LIGHT
            assert called or light, f"{path.name} imports {module} before bound_spinning()"
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            called = called or "bound_spinning()" in [ast.unparse(statement) for statement in node.body]
    assert called


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no sched_setaffinity")
def test_usable_cores_follow_the_affinity():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)
