"""The checks of a GPU with the CPU as device, on few images."""

import pytest
import torch

from aird_plugin.diagnostics.gpu.check import Bench, Sizes

TINY = Sizes(
    identities=8,
    pairs=20,
    speed_identities=8,
    speed_networks=(("native16_0.05m", 8, ()),),
    speed_teacher="native112_0.05m",
    speed_width=128,
    negatives=8,
    steps=1,
    turns=1,
)


@pytest.fixture(scope="session")
def bench(tmp_path_factory) -> Bench:
    return Bench(torch.device("cpu"), tmp_path_factory.mktemp("gpu"), TINY)
