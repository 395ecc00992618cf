"""The checks of a GPU with the CPU as device, on few images."""

import pytest
import torch

from aird_plugin.diagnostics.gpu.check import SMALL_SIZES, CheckContext

# Six times what a command takes here on a busy core.
LIMIT_S = 900.0


@pytest.fixture(scope="session")
def context(tmp_path_factory) -> CheckContext:
    return CheckContext(torch.device("cpu"), tmp_path_factory.mktemp("gpu"), SMALL_SIZES, limit_s=LIMIT_S)
