"""The queue of runs: which are trained, in which order, with which keys, and that a second call resumes."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aird_plugin.config.recipe import load
from aird_plugin.config.recipe_file import recipe_path
from tools.lib.method_results import TEACHER
from tools.lib.methods import AIRD, COSINE, Method

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_methods", ROOT / "tools" / "bench_methods.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments(tool, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["bench_methods.py", *map(str, words)])
    return tool.arguments()


def test_recipes_of_every_method_load(tool):
    for name, method in tool.METHODS.items():
        for recipe, overrides in method.stages:
            keys = [override.replace("{previous}", "runs/before").replace("{first}", "runs/first") for override in overrides]
            loaded = load(recipe_path(ROOT / "recipes", recipe), keys)
            assert loaded.head.head_init == "teacher" or not method.teachers_space or loaded.terms, name
    assert {AIRD, COSINE} <= set(tool.METHODS)


def test_run_folders_are_distinct(tool, monkeypatch, tmp_path):
    args = arguments(tool, monkeypatch, tmp_path)
    folders = {tool.folder_of(args, name, seed) for name in tool.METHODS for seed in range(3)}
    assert len(folders) == 3 * len(tool.METHODS)


@pytest.fixture
def recorded(tool, monkeypatch):
    """Record runs instead of training them; recipes in `failing` end with status 1."""
    calls, failing = [], set()

    def run_recipe(args, recipe, keys, folder, cost):
        calls.append((recipe, keys))
        cost["seconds"] += 2.0
        return int(recipe in failing)

    monkeypatch.setattr(tool, "run_recipe", run_recipe)
    monkeypatch.setitem(tool.METHODS, "staged", Method([("one", ["a=1"]), ("two", ["student_init={previous}/model.pt"])]))
    return calls, failing


def test_stages_run_in_sequence_and_a_finished_run_is_kept(tool, monkeypatch, tmp_path, recorded):
    args = arguments(tool, monkeypatch, tmp_path, "--set", "lr=0.2")
    assert tool.train(args, "staged", 3) == 0
    folder = tmp_path / "staged-seed3"
    shared = ["lr=0.2", f"output={folder}/stage1", "seed=3", "val_targets=()"]
    assert recorded[0][0] == ("one", ["a=1", *shared])
    assert recorded[0][1][0] == "two" and f"student_init={folder}/stage1/model.pt" in recorded[0][1][1]
    assert f"output={folder}" in recorded[0][1][1]
    assert json.loads((folder / "done").read_text()) == {"seconds": 4.0, "peak_mb": 0.0, "set": ["lr=0.2"]}
    assert tool.train(args, "staged", 3) == 0 and len(recorded[0]) == 2


def test_run_of_another_budget_is_rejected(tool, monkeypatch, tmp_path, recorded, capsys):
    assert tool.train(arguments(tool, monkeypatch, tmp_path, "--set", "num_epoch=2"), "staged", 0) == 0
    assert tool.train(arguments(tool, monkeypatch, tmp_path), "staged", 0) == 1 and len(recorded[0]) == 2
    assert "was trained with --set ['num_epoch=2'], now []; name another folder" in capsys.readouterr().out
    folder = tmp_path / "staged-seed0"
    (folder / "done").write_text('{"seconds": 1, "peak_mb": 1}')
    assert tool.train(arguments(tool, monkeypatch, tmp_path), "staged", 0) == 0


def test_failed_stage_ends_the_run_and_is_retried(tool, monkeypatch, tmp_path, recorded, capsys):
    args = arguments(tool, monkeypatch, tmp_path)
    recorded[1].add("one")
    assert tool.train(args, "staged", 0) == 1
    assert "failed, see" in capsys.readouterr().out and len(recorded[0]) == 1
    recorded[1].clear()
    assert tool.train(args, "staged", 0) == 0 and len(recorded[0]) == 3


def test_methods_and_seeds_trained_by_default_and_with_only(tool, monkeypatch, tmp_path, recorded):
    trained = []
    monkeypatch.setattr(tool, "train", lambda args, name, seed: trained.append((name, seed)) or 0)
    monkeypatch.setattr(tool, "evaluate", lambda args, finished: {})
    monkeypatch.setattr(tool, "significance", lambda args, results: [])
    monkeypatch.setattr(tool, "tables", lambda args, results, tests, finished: "")
    arguments(tool, monkeypatch, tmp_path)
    assert tool.main() == 0
    assert (AIRD, 2) in trained and ("staged", 0) in trained and ("staged", 1) not in trained
    assert all(tool.METHODS[name].group == "methods" for name, _ in trained)
    trained.clear()
    arguments(tool, monkeypatch, tmp_path, "--only", AIRD, "staged", "--seeds", 0, 5)
    assert tool.main() == 0
    assert trained == [(AIRD, 0), ("staged", 0), (AIRD, 5), ("staged", 5)]
    trained.clear()
    arguments(tool, monkeypatch, tmp_path, "--only", "all sizes")
    assert tool.main() == 0 and trained == [("all sizes", 0)]


def test_seconds_and_peak_memory_of_a_real_process(tool, monkeypatch, tmp_path):
    args = arguments(tool, monkeypatch, tmp_path)
    cost = {"seconds": 0.0, "peak_mb": 0.0}
    assert tool.run_recipe(args, "no_such_recipe", ["output=x"], tmp_path, cost) == 1
    assert cost["seconds"] > 0 and cost["peak_mb"] > 5 and "no recipe" in (tmp_path / "log").read_text()


def test_relative_folder_is_relative_to_the_caller(tool, monkeypatch, tmp_path):
    """The training process resolves output= to the folder that the evaluating process reads."""
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "train.py"
    script.write_text("import os, sys; open('here', 'w').write(os.getcwd())")
    monkeypatch.setattr(tool, "ROOT", tmp_path / "checkout")
    (tmp_path / "checkout").mkdir()
    script.rename(tmp_path / "checkout" / "train.py")
    args = arguments(tool, monkeypatch, "runs")
    assert tool.run_recipe(args, "any", [], tmp_path, {"seconds": 0.0, "peak_mb": 0.0}) == 0
    assert (tmp_path / "here").read_text() == str(tmp_path)


def test_factors_cross_centers_and_terms_with_one_identity_weight(tool):
    """Each cell differs from the identity loss with the same centers in its terms alone."""
    cells = {name: method for name, method in tool.METHODS.items() if method.group == "factors"}
    assert len(cells) == 2 * 5
    recipes = {
        name: load(recipe_path(ROOT / "recipes", method.stages[0][0]), method.stages[0][1]) for name, method in cells.items()
    }
    for name, method in cells.items():
        recipe = recipes[name]
        assert recipe.head.centers == method.factors["centers"] and recipe.run.identity_weight == 1
        expected = {"cls": set(), "IID": {"iid"}, "IID + RID mutual": {"iid", "rid"}}.get(method.factors["terms"], {"rid"})
        assert set(recipe.terms) == expected
        if method.factors["terms"] != "cls":
            bare = recipes[method.against]
            assert replace(recipe, terms={}) == bare and bare.head.centers == recipe.head.centers
    contrasts = {m.factors["terms"]: recipes[n].terms["rid"].contrast for n, m in cells.items() if "rid" in recipes[n].terms}
    assert contrasts == {"RID as published": "nce", "RID mutual": "mutual", "IID + RID mutual": "mutual"}


def test_json_has_a_row_per_run_with_its_factors_and_seed(tool, monkeypatch, tmp_path):
    args = arguments(tool, monkeypatch, tmp_path, "--set", "lr=0.2")
    finished = [(name, seed) for seed in (0, 4) for name in ("IID, frozen centers", "cls, frozen centers")]
    row = {"pairs": "a.bin", "px": 16, "protocol": "lr-lr", "accuracy": 90.0, "right": "ff"}
    results = {TEACHER: [[row]]} | {name: [[row], [row]] for name, _ in finished[:2]}
    found = tool.collected(args, results, [], finished)
    assert found["set"] == ["lr=0.2"] and len(found["rows"]) == 5 and "seed" not in found["rows"][0]
    assert found["rows"][2] == {
        "method": "IID, frozen centers",
        "centers": "frozen",
        "terms": "IID",
        "seed": 4,
        **{key: value for key, value in row.items() if key != "right"},
    }
