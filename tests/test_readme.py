"""README's commands: those marked `sh quick` run unchanged, the others may name only existing verbs, recipes and keys."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh( quick)?\n(.*?)^```", README, re.M | re.S)
COMMANDS = [(line, bool(quick)) for quick, block in BLOCKS for line in block.splitlines() if line and not line.startswith("#")]
QUICK = [line for line, quick in COMMANDS if quick and not line.startswith("make test")]


def test_readme_contains_commands():
    assert len(COMMANDS) >= 5 and "make test" in README and "make quickstart" in README


@pytest.mark.parametrize("line", QUICK)
def test_quick_command_runs(line, tmp_path):
    words = [str(tmp_path / "out") if word == "my_recipes" else word for word in shlex.split(line)]
    if words[0] == "aird":
        words = [sys.executable, "-m", "aird_plugin", *words[1:]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [line for line, _ in COMMANDS])
def test_command_parses(line):
    from aird_plugin.__main__ import parse
    from aird_plugin.config.recipe import load

    words = shlex.split(line)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M)
    for word in words:
        if word.startswith("recipes/"):
            assert (ROOT / word).is_file(), word
    if words[0] == "aird":
        parse(words[1:])
    if words[0] == "torchrun" or words[:2] == ["aird", "train"]:
        first = next(n for n, word in enumerate(words) if word.startswith("recipes/"))
        load(ROOT / words[first], [word for word in words[first + 1 :] if "=" in word])


TRAINING = r"^ *((?:aird (?:train|doctor)|torchrun \S+ train\.py) recipes/.*)$"
TYPED = [
    line
    for page in ("README.md", "docs/own_model.md", "docs/data.md")
    for line in re.findall(TRAINING, (ROOT / page).read_text().replace("\\\n", ""), re.M)
]


@pytest.mark.parametrize("line", TYPED)
def test_command_names_all_that_a_user_without_our_data_needs(line, tmp_path, monkeypatch):
    """In an empty folder with the training images and the teacher of the command alone, the run begins."""
    from aird_plugin.config.recipe import load
    from aird_plugin.training.inputs import check_inputs

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIRD_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    words = shlex.split(line)
    recipe = ROOT / next(word for word in words if word.startswith("recipes/"))
    typed = dict(word.split("=", 1) for word in words if "=" in word and not word.startswith("--"))
    Path(typed["rec"]).mkdir()
    teacher = Path(typed["teacher"]).expanduser()
    teacher.parent.mkdir(parents=True, exist_ok=True)
    teacher.write_bytes(b"")
    check_inputs(load(recipe, [f"{key}={value}" for key, value in typed.items()]))


def test_a_student_beside_a_pack_was_taught_by_that_packs_recogniser():
    """`TinyFaceAnalysis` refuses a student in other coordinates than those of the HR recogniser."""
    lines = [line for line, _ in COMMANDS]
    exports = dict(re.match(r"aird export (\S+) --out (\S+)", line).groups()[::-1] for line in lines if "aird export" in line)
    teachers = {line.partition("output=")[2]: line for line in lines if line.startswith("aird train") and "output=" in line}
    beside = {tuple(found) for line in lines for found in re.findall(r"--models (\w+) (\w+)", line)}
    assert beside and all(f"/models/{pack}/" in teachers.get(exports[student], "") for pack, student in beside)


def anchors(page: Path) -> set[str]:
    """The fragments by which GitHub links to a page's headings: lower case, without punctuation, hyphens for blanks."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "recipes").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page):
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" not in link:
            target, _, anchor = link.partition("#")
            path = page.parent / target if target else page
            assert path.exists() and (not anchor or anchor in anchors(path)), f"{page} links to {link}"


def test_recipe_keys_of_the_aird_page_exist():
    import dataclasses

    from aird_plugin.config.recipe import SECTIONS
    from aird_plugin.losses.instance import IID
    from aird_plugin.losses.relation import RID

    known = {field.name for kind in SECTIONS.values() for field in dataclasses.fields(kind)}
    known |= {f"iid_{f.name}" for f in dataclasses.fields(IID)} | {f"rid_{f.name}" for f in dataclasses.fields(RID)}
    table = (ROOT / "docs" / "aird.md").read_text().split("## Known")[0]
    last_column = " ".join(row.split("|")[-2] for row in table.splitlines() if row.startswith("|"))
    named = set(re.findall(r"\b[a-z]+_[a-z_]+\b", last_column))
    assert named and named <= known, named - known
