"""Files that are removed or truncated while a run has them mapped; and clock jumps."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.faults.processes import assert_equals_uninterrupted, slowly, start, wait_for_step
from tests.runs import metrics, write_recipe

pytestmark = pytest.mark.slow


def test_removed_bank_does_not_affect_a_running_run(tiny_keys, uninterrupted, tmp_path):
    """Linux keeps a removed file as long as it is mapped."""
    bank, folder = tmp_path / "bank", tmp_path / "run"
    shutil.copytree(tiny_keys["bank"], bank)
    run = start(write_recipe(tmp_path / "recipe.py", tiny_keys | {"bank": str(bank), "output": str(folder)}), before=slowly())
    wait_for_step(run, folder, 4)
    shutil.rmtree(bank)
    assert run.wait(120) == 0, run.communicate()
    assert_equals_uninterrupted(folder, uninterrupted)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="other systems do not allow truncating a mapped file")
def test_truncated_records_end_the_run_and_it_resumes(tiny_keys, tmp_path):
    rec, folder, whole = tmp_path / "faces", tmp_path / "run", tmp_path / "whole"
    shutil.copytree(tiny_keys["rec"], rec)
    keys = tiny_keys | {"rec": str(rec), "online": True, "bank": str(tmp_path / "bank")}
    assert start(write_recipe(tmp_path / "recipe.py", keys | {"output": str(whole)})).wait(120) == 0
    recipe = write_recipe(tmp_path / "recipe.py", keys | {"output": str(folder)})
    run = start(recipe, before=slowly())
    wait_for_step(run, folder, 4)
    records = (rec / "train.rec").read_bytes()
    with (rec / "train.rec").open("r+b") as file:
        file.truncate(0)
    _, error = run.communicate(timeout=120)
    assert run.returncode == -signal.SIGBUS and "Fatal Python error: Bus error" in error and "reader.py" in error
    (rec / "train.rec").write_bytes(records)
    assert start(recipe).wait(120) == 0
    assert_equals_uninterrupted(folder, whole)


JUMPING = (
    "import random, time\nreal, draw, jumps = time.time, random.Random(0), []\n"
    "def jumping():\n    jumps.append(draw.choice([-86400.0, 0.0, 3600.0, 1e9]))\n    return real() + jumps[-1]\n"
    "time.time = jumping"
)


def test_clock_jumps_change_nothing(tiny_keys, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    run = start(write_recipe(tmp_path / "recipe.py", tiny_keys | {"output": str(folder)}), before=JUMPING)
    _, error = run.communicate(timeout=120)
    assert run.returncode == 0, error
    assert_equals_uninterrupted(folder, uninterrupted)
    rows = metrics(folder)
    assert rows and all(row["samples_per_s"] > 0 for row in rows)
