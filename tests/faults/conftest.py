from pathlib import Path

import pytest

from tests.faults.processes import start
from tests.runs import write_recipe


@pytest.fixture(scope="session")
def tiny_keys(tiny_run, tmp_path_factory):
    """Keys of a run of eighteen steps that saves at every second one, its bank built."""
    keys = tiny_run | {"frequent": 1, "save_steps": 2, "output": str(tmp_path_factory.mktemp("faults") / "uninterrupted")}
    run = start(write_recipe(tmp_path_factory.mktemp("recipe") / "recipe.py", keys))
    _, error = run.communicate()
    assert run.returncode == 0, error
    return keys


@pytest.fixture(scope="session")
def uninterrupted(tiny_keys):
    """The folder of that run, uninterrupted."""
    return Path(tiny_keys["output"])
