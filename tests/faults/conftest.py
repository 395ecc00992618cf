from pathlib import Path

import pytest

from tests.faults.processes import recipe_file, start


@pytest.fixture(scope="session")
def tiny_keys(tiny_run, tmp_path_factory):
    """A run of eighteen steps that saves at every second, its bank built."""
    keys = tiny_run | {"frequent": 1, "save_steps": 2, "output": str(tmp_path_factory.mktemp("faults") / "unbroken")}
    run = start(recipe_file(tmp_path_factory.mktemp("recipe"), keys))
    _, told = run.communicate()
    assert run.returncode == 0, told
    return keys


@pytest.fixture(scope="session")
def unbroken(tiny_keys):
    """The folder of that run, never disturbed."""
    return Path(tiny_keys["output"])
