"""Every file, module, recipe, make target and test selection that the documentation names exists."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("aird_plugin", "docs", "recipes", "tests", "tools")
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
FILES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")] + [*ROOT.glob("*.*")]
RECIPES = {path.stem for path in (ROOT / "recipes").rglob("*.py")}
# Files of arcface_torch, and those that docs/extending.md writes or assumes.
UPSTREAM = {"eval_ijbc.py", "onnx_helper.py", "onnx_ijbc.py", "partial_fc.py", "torch2onnx.py", "train_v2.py", "docs/eval.md"}
UPSTREAM |= {"eval/verification.py"}
EXAMPLES = {"convert.py", "my_loss.py", "my_margin.py", "recipe.py"}
# What the reader puts in place of NAME, or of *.
ANY = re.compile(r"NAME|\*")


def missing_paths(text: str) -> list[str]:
    """Paths below the repository's folders, and bare names of .py files, that name no file."""
    paths = {path.rstrip(".") for path in re.findall(rf"(?<![\w./])(?:{'|'.join(FOLDERS)})/[\w./*-]*", text)}
    missing = [path for path in paths - UPSTREAM if not any(ROOT.glob(ANY.sub("*", path)))]
    names = set(re.findall(r"(?<![\w./*-])[\w-]+(?:/[\w-]+)*\.py\b", text)) - paths - UPSTREAM - EXAMPLES
    return missing + [name for name in names if not any(f"/{path.relative_to(ROOT)}".endswith(f"/{name}") for path in FILES)]


def missing_modules(text: str) -> list[str]:
    """Dotted names that are neither modules of the package nor attributes of one."""
    return [name for name in set(re.findall(r"\baird_plugin(?:\.\w+)+", text)) if not is_importable(name)]


def is_importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        parent, _, attribute = name.rpartition(".")
        return bool(parent) and is_importable(parent) and hasattr(importlib.import_module(parent), attribute)
    return True


def missing_recipes(text: str) -> list[str]:
    """Names in the form of a recipe's, with a size (_lr16) or of the families on faces15k and synthetic images."""
    named = set(re.findall(r"(?<![\w-])(?:\w+_lr\d+\w*|faces15k_\w+|quickstart_\w+)(?![\w*])", text))
    return [name for name in named - RECIPES if "NAME" not in name]


def missing_targets(text: str) -> list[str]:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    return [name for name in re.findall(r"(?:`|^    |^)make ([a-z-]+)", text, re.M) if name not in targets]


def empty_selections(text: str) -> list[str]:
    """Words of `pytest PATHS -k WORDS` that occur in no test's name, file or parameters below PATHS."""
    empty = []
    for paths, words in re.findall(r"pytest (?:-m slow )?((?:tests\S* )+)-k (\"[^\"]+\"|\w+)", text):
        files = [
            file for path in paths.split() for file in ([ROOT / path] if path.endswith(".py") else (ROOT / path).rglob("*.py"))
        ]
        names = " ".join(name for file in files for name in [file.stem, *re.findall(r"def (test_\w+)", file.read_text())])
        empty += [word for word in words.strip('"').split(" or ") if word not in names]
    return empty


CHECKS = (missing_paths, missing_modules, missing_recipes, missing_targets, empty_selections)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_names_in_the_documentation_exist(check, page):
    assert not check(page.read_text()), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_table_cells_are_short_enough_to_read(page):
    """Longer cells make a table's other columns a few characters wide; write a list instead."""
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert not [cell for row in rows for cell in row.split("|") if len(cell) > 500]


def test_the_index_of_the_benchmarks_names_every_page():
    folder = ROOT / "docs" / "benchmarks"
    linked = re.findall(r"^\| \[\w+\]\((\w+\.md)\)", (folder / "README.md").read_text(), re.M)
    assert sorted([*linked, "README.md"]) == sorted(path.name for path in folder.glob("*.md"))


@pytest.mark.parametrize(
    ("check", "stale", "kept"),
    [
        (
            missing_paths,
            "tools/bench_nothing.py",
            "`tools/bench.py`, `recipes/rivals/faces15k_small_lr16_NAME.py`, `tests/data/`.",
        ),
        (missing_paths, "aird_plugin/losses/alignment", "aird_plugin/losses/cosine.py"),
        (missing_paths, "lowresolution.py", "`lowres.py` and `prior/model.py`"),
        (missing_modules, "aird_plugin.losses.alignment", "aird_plugin.evaluation.pooling.pool"),
        (missing_recipes, "faces15k_small_lr16_nothing", "`faces15k_small_lr16_at`"),
        (missing_recipes, "aird_r18_lr17", "`aird_r18_lr*`"),
        (missing_targets, "make quicker", "`make quickstart`; these make sense"),
        (empty_selections, "pytest tests/cli -k nothingness", 'pytest tests -k "code or outside"'),
    ],
)
def test_stale_names_are_found(check, stale, kept):
    assert len(check(f"`{stale}`")) == 1 and not check(kept)
