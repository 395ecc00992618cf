import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import train


@pytest.fixture(scope="session")
def run(tiny_run, tmp_path_factory):
    """The folder of a finished run of one epoch; tests that change it copy it."""
    return train(from_flat(tiny_run | {"num_epoch": 1, "output": str(tmp_path_factory.mktemp("runfolder") / "run")}))
