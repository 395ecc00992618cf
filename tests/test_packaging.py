"""The built wheel and sdist hold every file that they should, and nothing else of the repository."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.skips import needs

ROOT = Path(__file__).parents[1]
IN_WHEEL = ("aird_plugin", "recipes")
FOLDERS = (*IN_WHEEL, "docs", "tests", "tools")
# setuptools replaces sys.argv.
BUILD = "import sys; from setuptools import build_meta as b; out = sys.argv[1]; b.build_sdist(out); b.build_wheel(out)"


def files_below(root: Path, *folders: str) -> set[str]:
    paths = [path for folder in folders for path in (root / folder).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)) for path in paths if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the sdist, built from a copy of the repository without network."""
    if int(needs("setuptools").__version__.split(".")[0]) < 77:
        pytest.skip("setuptools is older than pyproject.toml asks for: pip install 'setuptools>=77'")
    copy, out = (tmp_path_factory.mktemp(name) for name in ("copy", "dist"))
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, copy)
    subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=copy, check=True, capture_output=True)
    return out


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_the_recipes(built):
    [wheel] = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    recipes = {f"aird_plugin/{name}" for name in files_below(ROOT, "recipes")}
    assert names == files_below(ROOT, "aird_plugin") | recipes


@pytest.mark.slow
def test_the_sdist_holds_what_its_tests_and_documentation_need(built):
    [sdist] = built.glob("*.tar.gz")
    names = {name.partition("/")[2] for name in tarfile.open(sdist).getnames()}
    top = {file.name for file in ROOT.iterdir() if file.suffix in (".md", ".cff", ".txt", ".py", ".toml")} | {
        "LICENSE",
        "Makefile",
    }
    assert files_below(ROOT, *FOLDERS) | top <= names
