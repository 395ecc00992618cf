"""SIGTERM, as a scheduler sends it: the state is saved within seconds, at any point of the run."""

import signal
import time

import pytest

from tests.faults.processes import assert_equals_uninterrupted, slowly, start, wait_for_step
from tests.runs import write_recipe

pytestmark = pytest.mark.slow

# Schedulers wait half a minute or more between SIGTERM and SIGKILL.
MOST_SECONDS = 10
# A validation that takes minutes, mostly in Python.
ENDLESS = (
    "import time\nfrom aird_plugin.training import validation\n"
    "def evaluate_one(*a):\n    print('verifying', flush=True)\n    time.sleep(300)\nvalidation.evaluate_one = evaluate_one\n"
)


def test_sigterm_during_steps_saves(tiny_keys, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    recipe = write_recipe(tmp_path / "recipe.py", tiny_keys | {"output": str(folder), "save_steps": 100})
    run = start(recipe, before=slowly())
    wait_for_step(run, folder, 5)
    stop(run)
    assert not (folder / "evaluation.json").exists() and list((folder / "checkpoints").glob("step_*"))
    assert start(recipe).wait(120) == 0
    assert_equals_uninterrupted(folder, uninterrupted)


def test_sigterm_during_validation_saves(tiny_keys, uninterrupted, tmp_path, pairs_file):
    folder = tmp_path / "run"
    keys = tiny_keys | {"output": str(folder), "val_targets": (pairs_file,), "verbose": 5, "save_steps": 100}
    recipe = write_recipe(tmp_path / "recipe.py", keys)
    run = start(recipe, before=ENDLESS)
    assert run.stdout.readline() == "verifying\n"
    stop(run, "stopped at step 5 of 18")
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_00000005"]
    assert start(recipe).wait(120) == 0
    assert_equals_uninterrupted(folder, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_exits_at_once(tiny_keys, tmp_path, number):
    folder = tmp_path / "run"
    run = start(write_recipe(tmp_path / "recipe.py", tiny_keys | {"output": str(folder)}), before=slowly(30))
    wait_until_steps_begin(folder)
    run.send_signal(number)
    time.sleep(0.5)
    run.send_signal(number)
    assert run.wait(MOST_SECONDS) == 130


def wait_until_steps_begin(folder) -> None:
    until = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    time.sleep(0.5)


def stop(run, message: str = "the same command continues from there") -> None:
    """Send SIGTERM and check that the run ends in time."""
    run.send_signal(signal.SIGTERM)
    since = time.monotonic()
    _, error = run.communicate(timeout=60)
    assert run.returncode == 130 and message in error, error
    assert time.monotonic() - since < MOST_SECONDS
