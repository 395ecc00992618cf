"""Files that go away, or are cut, while a run has them mapped; and clocks that jump."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.faults.processes import assert_as_unbroken, recipe_file, slowly, start, wait_for_step


def test_a_bank_that_is_removed_under_a_run_stays_its_own(tiny_keys, unbroken, tmp_path):
    """Linux keeps a mapped file until nobody maps it."""
    bank, folder = tmp_path / "bank", tmp_path / "run"
    shutil.copytree(tiny_keys["bank"], bank)
    run = start(recipe_file(tmp_path, tiny_keys | {"bank": str(bank), "output": str(folder)}), before=slowly())
    wait_for_step(run, folder, 4)
    shutil.rmtree(bank)
    assert run.wait(120) == 0, run.communicate()
    assert_as_unbroken(folder, unbroken)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="other systems do not let a mapped file be cut")
def test_records_that_are_cut_under_a_run_end_it_with_a_word_and_lose_nothing(tiny_keys, tmp_path):
    faces, folder, whole = tmp_path / "faces", tmp_path / "run", tmp_path / "whole"
    shutil.copytree(tiny_keys["rec"], faces)
    keys = tiny_keys | {"rec": str(faces), "online": True, "bank": str(tmp_path / "bank")}
    assert start(recipe_file(tmp_path, keys | {"output": str(whole)})).wait(120) == 0
    recipe = recipe_file(tmp_path, keys | {"output": str(folder)})
    run = start(recipe, before=slowly())
    wait_for_step(run, folder, 4)
    records = (faces / "train.rec").read_bytes()
    with (faces / "train.rec").open("r+b") as file:
        file.truncate(0)
    _, told = run.communicate(timeout=120)
    assert run.returncode == -signal.SIGBUS and "Fatal Python error: Bus error" in told and "recordio.py" in told
    (faces / "train.rec").write_bytes(records)
    assert start(recipe).wait(120) == 0
    assert_as_unbroken(folder, whole)


JUMPING = (
    "import random, time\nreal, draw, jumps = time.time, random.Random(0), []\n"
    "def jumping():\n    jumps.append(draw.choice([-86400.0, 0.0, 3600.0, 1e9]))\n    return real() + jumps[-1]\n"
    "time.time = jumping"
)


def test_a_clock_that_jumps_changes_nothing(tiny_keys, unbroken, tmp_path):
    folder = tmp_path / "run"
    run = start(recipe_file(tmp_path, tiny_keys | {"output": str(folder)}), before=JUMPING)
    _, told = run.communicate(timeout=120)
    assert run.returncode == 0, told
    assert_as_unbroken(folder, unbroken)
    told = (folder / "metrics.jsonl").read_text().splitlines()
    assert told and all(json.loads(line)["samples_per_s"] > 0 for line in told)
