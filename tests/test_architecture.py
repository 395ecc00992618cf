"""The arrows of the house: who may import whom, and what importing may cost."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aird_plugin"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"onnx", "onnxruntime", "insightface", "matplotlib", "diffusers", "sklearn", "cv2", "mxnet", "scipy"}
STANDARD = set(sys.stdlib_module_names)


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names that a file imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def inside(path: Path) -> set[str]:
    return {name for name in imports(path) if name.startswith("aird_plugin")}


def within(*rooms: str):
    return [path for path in FILES if name_of(path).startswith(tuple(f"aird_plugin.{room}" for room in rooms))]


@pytest.mark.parametrize("path", within("losses"), ids=name_of)
def test_losses_import_torch_only(path):
    outside = {name.split(".")[0] for name in imports(path)} - {"torch", "aird_plugin"} - STANDARD
    assert not outside
    assert all(name.startswith("aird_plugin.losses") for name in inside(path))


def test_the_objective_names_no_loss():
    named = {n for n in inside(PACKAGE / "objective.py") if n.startswith("aird_plugin.losses")}
    assert all(n.split(".")[2] in ("precision", "sharding") for n in named)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_imports_recipes_tools_or_tests(path):
    outer = {n for n in imports(path) if n.split(".")[0] in ("recipes", "tools", "tests")}
    assert not outer | {n for n in inside(path) if n.startswith("aird_plugin.recipes")}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_packages_are_imported_where_they_are_used(path):
    assert not {name.split(".")[0] for name in imports(path, top_level_only=True)} & HEAVY


def test_the_hosts_never_import_each_other():
    for path in within("loop"):
        assert not any(n.startswith("aird_plugin.bridge") for n in inside(path))
    for path in within("bridge"):
        assert not any(n.startswith("aird_plugin.loop") for n in inside(path))


def test_only_the_command_and_the_doctor_open_the_bridge():
    for path in FILES:
        if path not in within("bridge") and path.name not in ("__main__.py", "doctor.py"):
            assert not any(n.startswith("aird_plugin.bridge") for n in inside(path)), path


@pytest.mark.parametrize(("room", "may_not"), [
    ("data", ("losses", "objective", "loop", "evaluation", "assemble")),
    ("models", ("objective", "loop", "evaluation", "assemble", "data.bank", "data.faces")),
    ("evaluation", ("losses", "objective", "loop")),
    ("objective", ("models", "data", "evaluation", "loop")),
])  # fmt: skip
def test_data_flow_one_way(room, may_not):
    for path in within(room):
        wrong = {n for n in inside(path) if n.startswith(tuple(f"aird_plugin.{other}" for other in may_not))}
        assert not wrong, f"{name_of(path)} imports {wrong}"


def test_only_two_modules_talk_to_torch_distributed():
    for path in FILES:
        names = {n for n in imports(path) if n.startswith("torch.distributed")}
        assert not names or path.name in ("distributed.py", "roll_call.py"), path


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, aird_plugin; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_files_that_are_no_code_ship_with_the_package():
    others = [path for path in PACKAGE.rglob("*.*") if path.suffix not in (".py", ".pyc")]
    assert len(others) >= 2
    for path in others:
        assert f'"{name_of(path.parent)}": ["{path.name}"]' in (ROOT / "setup.py").read_text(), path


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_has_one_job(path):
    """Over about 200 lines a file has two."""
    assert len(path.read_text().splitlines()) <= 230


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_function_has_one_job(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_names_are_documented(path):
    """Modules, public classes and public functions of some length; short ones speak for themselves."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), path
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node) or node.end_lineno - node.lineno <= 6, f"{path}:{node.lineno} {node.name}"
