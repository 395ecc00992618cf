"""The bank of a recipe, ahead of the run: its caches, a line on each, and nothing computed twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.bank import build_bank
from aird_plugin.utils.errors import MissingInputs
from tests.faults.processes import PATIENCE_S, ROOT
from tests.runs import write_recipe


@pytest.fixture
def keys(tiny_run, tmp_path):
    return tiny_run | {"bank": str(tmp_path / "bank"), "output": str(tmp_path / "run")}


def manifests(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.rglob("manifest.json")}


def test_a_line_and_a_folder_for_each_cache(keys, tmp_path):
    bank = tmp_path / "bank"
    assert build_bank(from_flat(keys)) == [f"{bank}/low16-v2: 48 images", f"{bank}/teacher-v2: 48 images, 2 views, width 8"]
    built = manifests(bank)
    assert set(built) == {"low16-v2", "teacher-v2"}
    assert len(build_bank(from_flat(keys))) == 2 and manifests(bank) == built, "a second call opens what is there"


def test_online_recipes_have_no_image_cache(keys, tmp_path):
    (line,) = build_bank(from_flat(keys | {"online": True}))
    assert "teacher-v2: 48 images" in line and set(manifests(tmp_path / "bank")) == {"teacher-v2"}


def test_missing_inputs_are_named_before_any_work(keys, tmp_path):
    with pytest.raises(MissingInputs, match="2 of this recipe's inputs cannot be used"):
        build_bank(from_flat(keys | {"rec": "nowhere", "teacher": "nothing.pt"}))
    assert not (tmp_path / "bank").exists()


@pytest.mark.slow
def test_ranks_of_torchrun_build_one_bank(keys, tmp_path):
    recipe = write_recipe(tmp_path / "recipe.py", keys | {"bank_shard_images": 16})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "aird_plugin", "bank"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(recipe)], env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr[-2000:]
    bank = tmp_path / "bank"
    assert done.stdout.splitlines()[-2:] == [
        f"{bank}/low16-v2: 48 images",
        f"{bank}/teacher-v2: 48 images, 2 views, width 8",
    ]
    assert len(done.stdout.splitlines()) == 2
    assert {"low16-v2", "teacher-v2", "shard-00000", "shard-00001", "shard-00002"} == set(manifests(bank))
