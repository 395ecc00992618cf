"""The command line: exit codes, one-line errors, help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aird_plugin.__main__ import main, parse
from aird_plugin.utils.errors import Interrupted, describe
from aird_plugin.utils.package_recipes import copy_recipes
from tests.runs import metrics, write_recipe

ROOT = Path(__file__).parents[2]


def test_train_script_writes_a_run_folder(tiny_run, tmp_path):
    recipe = write_recipe(tmp_path / "tiny.py", tiny_run | {"output": str(tmp_path / "run"), "num_epoch": 1})
    done = subprocess.run([sys.executable, str(ROOT / "train.py"), str(recipe), "frequent=2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"done: {tmp_path / 'run'}\n"
    assert [line["step"] for line in metrics(tmp_path / "run")] == [2, 4, 6]
    assert (tmp_path / "run" / "model.pt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "none.py"], "error: no recipe none.py; `aird recipes FOLDER` copies those of the package into a folder"),
        (["train", "recipes/quickstart/quickstart.py", "lrr=1"], "error: recipe has no key 'lrr'; the nearest is 'lr'"),
        (["train", "recipes/quickstart/quickstart.py", "lr=-1"], "error: lr must be above 0; got -1"),
        (["evaluate", "nowhere", "--pairs", "README.md", "--px", "16"], "error: README.md is no InsightFace pairs file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_1(words, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("AIRD_DEBUG", raising=False)
    assert main(words) == 1
    line = capsys.readouterr().err
    assert line.startswith(message) and line.count("\n") == 1


def test_traceback_with_aird_debug(monkeypatch):
    monkeypatch.setenv("AIRD_DEBUG", "1")
    with pytest.raises(ValueError, match="no recipe"):
        main(["train", "none.py"])


def test_interruption_exits_with_130(monkeypatch, capsys):
    import aird_plugin.training.loop

    def stopped(recipe):
        raise Interrupted("stopped at step 3 of 9")

    monkeypatch.setattr(aird_plugin.training.loop, "train", stopped)
    assert main(["train", str(ROOT / "recipes" / "quickstart" / "quickstart.py")]) == 130
    assert capsys.readouterr().err == "stopped at step 3 of 9\n"


def test_bank_builds_the_caches(tiny_run, tmp_path, capsys):
    recipe = write_recipe(tmp_path / "tiny.py", tiny_run | {"bank": str(tmp_path / "bank")})
    assert main(["bank", str(recipe)]) == 0
    assert "48 images, 2 views, width 8" in capsys.readouterr().out
    assert (tmp_path / "bank" / "teacher-v2" / "manifest.json").exists()
    assert (tmp_path / "bank" / "low16-v2" / "manifest.json").exists()


def test_recipes_are_not_overwritten(tmp_path, capsys):
    assert main(["recipes", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.rglob("*.py")}
    assert names == {path.name for path in (ROOT / "recipes").rglob("*.py")}
    assert capsys.readouterr().out.endswith(
        f"{len(list(tmp_path.rglob('*.py')))} recipes; {tmp_path / 'README.md'} says which one suits what you have\n"
    )
    with pytest.raises(ValueError, match="is there already; name another folder"):
        copy_recipes(str(tmp_path))


@pytest.mark.parametrize("words", [["recipes", "out"], ["doctor"]])
def test_a_reader_that_goes_away_ends_a_command_quietly(words, tmp_path):
    """As `aird recipes DIR | head -0` does."""
    command = [sys.executable, "-m", "aird_plugin", *words]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_broken_connection_of_another_kind_is_an_error(monkeypatch, capsys):
    import aird_plugin.training.loop

    def broken(recipe):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(aird_plugin.training.loop, "train", broken)
    assert main(["train", str(ROOT / "recipes" / "quickstart" / "quickstart.py")]) == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["train", "--help"],
        ["evaluate", "--help"],
        ["compare", "--help"],
        ["bank", "--help"],
        ["report", "--help"],
        ["--version"],
    ],
)
def test_help_exits_with_0(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0 and capsys.readouterr().out


def test_unexpected_error_names_its_type():
    assert describe(KeyError("x")) == "KeyError: 'x' (AIRD_DEBUG=1 shows where)"
    assert describe(ValueError("a\n b")) == "a b"


def test_overrides_before_and_after_an_option():
    args = parse(["train", "r.py", "lr=1", "--arcface-torch", "DIR", "px=8"])
    assert (args.recipe, args.overrides, args.arcface_torch) == ("r.py", ["lr=1", "px=8"], "DIR")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "r.py", "--arcface-torch", "DIR", "px"],
        ["train", "r.py", "--no=1"],
        ["recipes", "a", "b=1"],
    ],
)
def test_unrecognized_arguments_are_rejected(words, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(words)
    assert stop.value.code == 2 and "unrecognized arguments: " in capsys.readouterr().err


def test_environment_variable_names_the_checkout(monkeypatch):
    monkeypatch.setenv("ARCFACE_TORCH", "/checkout")
    assert parse(["train", "r.py"]).arcface_torch == "/checkout"


def test_folder_without_checkout_is_a_one_line_error(tiny_run, tmp_path, capsys):
    assert main(["train", str(write_recipe(tmp_path / "tiny.py", tiny_run)), "--arcface-torch", str(tmp_path)]) == 1
    line = capsys.readouterr().err
    assert line.startswith("error: ") and "is no arcface_torch checkout" in line and line.count("\n") == 1


def test_help_says_what_a_verb_does_and_not_how_it_fails(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "Serve a browser page" in text and "Raises" not in text and "Error" not in text


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["evaluate", "m"], "--center"),
        (["evaluate", "m"], "--training-center"),
        (["compare", "a", "b"], "--center"),
        (["compare", "a", "b"], "--training-center"),
        (["identify", "m", "d", "--layout", "bin"], "--training-center"),
        (["export", "m", "--out", "o"], "--training-center"),
    ],
)
def test_both_spellings_of_a_flag_are_one_option(words, flag, capsys):
    british = flag.replace("center", "centre")
    assert parse([*words, flag]) == parse([*words, british]) != parse(words)
    with pytest.raises(SystemExit):
        parse([words[0], "--help"])
    assert f"{british}, {flag}" in capsys.readouterr().out
