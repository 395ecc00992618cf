"""An arcface_torch checkout: find it, list the names it defines without running it, import it and remove it again."""

import ast
import importlib
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

from aird_plugin.utils.provenance import git

INSIDE = Path("recognition") / "arcface_torch"


def find(directory: str | Path, entry: str) -> Path:
    """The arcface_torch folder at `directory`, which may also be a checkout of the whole InsightFace repository.

    entry: module that must exist. Raises ValueError if it does not.
    """
    place = Path(directory).expanduser()
    for folder in (place, place / INSIDE):
        if (folder / f"{entry}.py").is_file():
            return folder.resolve()
    raise ValueError(
        f"{place} is no arcface_torch checkout: neither it nor {place / INSIDE} has {entry}.py; "
        "clone github.com/deepinsight/insightface and pass its folder"
    )


def commit(folder: Path) -> str | None:
    """Short hash and date of the last commit that touched the folder; None without git or its history."""
    return git(folder, "log", "-1", "--format=%h %cs", "--", ".")


def bindings(folder: Path, module: str) -> set[str]:
    """Names that a module of the checkout defines at its top level, parsed from its source; empty if the file does not exist.

    The module is not executed: importing arcface_torch's entry module already starts a process group.
    """
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        return set()
    names: set[str] = set()
    for node in ast.parse(path.read_text(errors="replace")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def top_level_names(folder: Path) -> set[str]:
    """Top-level modules of the folder: `utils`, `losses`, `eval` and others, except this package if it lies in the folder."""
    names = {path.stem for path in folder.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    return names - {__name__.split(".")[0]}


@contextmanager
def importable(folder: Path):
    """Put the checkout first on sys.path; loaded modules of the same names (`utils`, `losses`) are set aside meanwhile."""
    names = top_level_names(folder)
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in names}
    with ExitStack() as stack:
        for name in before:
            del sys.modules[name]
        stack.callback(sys.modules.update, before)
        stack.callback(_forget, names)
        sys.path.insert(0, str(folder))
        stack.callback(sys.path.remove, str(folder))
        importlib.invalidate_caches()
        yield


def _forget(names: set[str]) -> None:
    """Remove imported modules by their top-level names, so that the next import loads them again."""
    for name in [name for name in sys.modules if name.split(".")[0] in names]:
        del sys.modules[name]
