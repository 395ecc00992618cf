"""`~` in paths is expanded in user arguments and recipes, and only there."""

from pathlib import Path

import pytest

from aird_plugin.__main__ import parse
from aird_plugin.config.recipe import PATH_KEYS, SECTIONS, from_flat, load
from aird_plugin.config.recipe_file import data_path
from aird_plugin.utils.paths import expand_user


@pytest.fixture
def home(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    return str(tmp_path)


def test_only_a_leading_tilde_is_expanded(home):
    assert expand_user(["~/a", "a/~b", Path("~/c")]) == [f"{home}/a", "a/~b", Path(home, "c")]
    assert expand_user(("~", 3, None)) == (home, 3, None)


def test_recipe_and_overrides_are_expanded(home, tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(
        "from easydict import EasyDict\nconfig = EasyDict(rec='~/faces', output='~/run', teacher='~/t.onnx', bank='~/bank')"
    )
    found = load(recipe, ["student_init=~/first", "val_targets=['~/lfw.bin', 'agedb_30']", "prior=~/prior"])
    assert found.data.rec == f"{home}/faces" and found.run.output == f"{home}/run" and found.bank.bank == f"{home}/bank"
    assert found.teacher.teacher == f"{home}/t.onnx" and found.student.student_init == f"{home}/first"
    assert found.run.val_targets == (f"{home}/lfw.bin", "agedb_30") and found.prior.prior == f"{home}/prior"


def test_data_folder_is_expanded(home, monkeypatch):
    monkeypatch.setenv("AIRD_DATA", "~/data")
    assert data_path("lfw", "lfw.bin") == f"{home}/data/lfw/lfw.bin"


def test_every_path_key_is_listed():
    """Every key whose default is a path must be in PATH_KEYS."""
    keys = {key for section in SECTIONS.values() for key in section.__dataclass_fields__}
    assert set(PATH_KEYS) <= keys
    others = from_flat({"rec": "x", "output": "y"}).flat()
    assert not [key for key, value in others.items() if isinstance(value, str) and "/" in value and key not in PATH_KEYS]


@pytest.mark.parametrize(
    ("words", "key", "expected"),
    [
        (["evaluate", "~/run", "--pairs", "~/a.bin", "~/b.bin", "--px", "16"], "pairs", ["{home}/a.bin", "{home}/b.bin"]),
        (["evaluate", "~/run", "--px", "16"], "model", "{home}/run"),
        (["report", "~/run", "--out", "~/r.html", "--teacher", "~/t.onnx"], "teacher", "{home}/t.onnx"),
        (["export", "~/run", "--out", "~/o"], "out", "{home}/o"),
        (["doctor", "r.py", "--arcface-torch", "~/insightface"], "arcface_torch", "{home}/insightface"),
    ],
)
def test_command_arguments_are_expanded(home, words, key, expected):
    expected = [one.format(home=home) for one in expected] if isinstance(expected, list) else expected.format(home=home)
    assert getattr(parse(words), key) == expected


def test_overrides_are_left_to_the_recipe(home):
    assert parse(["train", "r.py", "output=~/x"]).overrides == ["output=~/x"]
