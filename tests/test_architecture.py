"""Import rules between packages, the cost of importing, and size limits of files and functions."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "aird_plugin"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {
    "onnx",
    "onnxruntime",
    "insightface",
    "matplotlib",
    "diffusers",
    "sklearn",
    "cv2",
    "mxnet",
    "scipy",
    "faiss",
    "trackers",
    "supervision",
    "wandb",
}
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


def within(*packages: str):
    return [path for path in FILES if name_of(path).startswith(tuple(f"aird_plugin.{package}" for package in packages))]


@pytest.mark.parametrize("path", within("losses"), ids=name_of)
def test_losses_import_torch_only(path):
    outside = {name.split(".")[0] for name in imports(path)} - {"torch", "aird_plugin"} - STANDARD
    assert not outside
    assert all(name.startswith("aird_plugin.losses") for name in inside(path))


def test_objective_imports_no_loss():
    named = {n for n in inside(PACKAGE / "training" / "objective.py") if n.startswith("aird_plugin.losses")}
    assert all(n.split(".")[2] in ("precision", "sharding") for n in named)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_imports_recipes_tools_or_tests(path):
    outer = {n for n in imports(path) if n.split(".")[0] in ("recipes", "tools", "tests")}
    assert not outer | {n for n in inside(path) if n.startswith("aird_plugin.recipes")}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_packages_are_imported_lazily(path):
    assert not {name.split(".")[0] for name in imports(path, top_level_only=True)} & HEAVY


def test_training_and_bridge_do_not_import_each_other():
    for path in within("training"):
        assert not any(n.startswith("aird_plugin.bridge") for n in inside(path)), path
    for path in within("bridge"):
        assert not any(n.startswith("aird_plugin.training.loop") for n in inside(path)), path


def test_only_the_command_line_imports_the_bridge():
    for path in FILES:
        if path not in within("bridge", "cli"):
            assert not any(n.startswith("aird_plugin.bridge") for n in inside(path)), path


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("utils", ("data", "models", "losses", "evaluation", "training", "config", "bridge", "cli")),
        ("losses", ("data", "models", "evaluation", "training", "config", "bridge", "cli")),
        ("data", ("losses", "models", "evaluation", "training", "bridge", "cli")),
        ("models", ("evaluation", "training", "data.bank", "data.batch", "data.online_batches", "config", "bridge", "cli")),
        ("evaluation", ("losses", "training", "config", "bridge", "cli")),
        ("training.objective", ("models", "data", "evaluation", "training.loop", "training.setup", "training.build")),
        ("training", ("bridge", "cli", "report", "export", "demo")),
    ],
)
def test_imports_follow_the_layers(package, forbidden):
    for path in within(package):
        wrong = {n for n in inside(path) if n.startswith(tuple(f"aird_plugin.{other}" for other in forbidden))}
        assert not wrong, f"{name_of(path)} imports {wrong}"


def test_only_two_modules_import_torch_distributed():
    for path in FILES:
        names = {n for n in imports(path) if n.startswith("torch.distributed")}
        assert not names or path.name in ("distributed.py", "rank_failure.py"), path


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, aird_plugin; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_data_files_are_packaged():
    package_data = re.search(r"package_data=(\{.*?\}),\n", (ROOT / "setup.py").read_text(), re.S)
    packaged = {
        path
        for package, patterns in ast.literal_eval(package_data[1]).items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    others = {path for path in PACKAGE.rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert len(others) >= 2 and others <= packaged


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_are_at_most_230_lines(path):
    """One file, one job: over about 200 lines, split it."""
    assert len(path.read_text().splitlines()) <= 230


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_are_at_most_50_lines(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{path}:{node.lineno} {node.name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_names_are_documented(path):
    """Modules, public classes and public functions of some length; short ones need no docstring."""
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), path
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node) or node.end_lineno - node.lineno <= 6, f"{path}:{node.lineno} {node.name}"


def modules_imported(path: Path, names: set[str]) -> set[str]:
    """The package's modules that a file imports; `from folder import module` counts as the module alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in names else node.module for name in full.values()}
    return found & names


def test_no_circular_imports():
    """Imports inside functions count too. Kahn's algorithm: repeatedly remove modules that import none of the rest."""
    names = {name_of(path) for path in FILES}
    arrows = {name_of(path): modules_imported(path, names) - {name_of(path)} for path in FILES}
    while free := {name for name, others in arrows.items() if not others & arrows.keys()}:
        arrows = {name: others for name, others in arrows.items() if name not in free}
    assert not arrows, f"these import one another: {sorted(arrows)}"
