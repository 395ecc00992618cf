"""Fixtures: the weights of a small network, in memory and as a file."""

import pytest
import torch
from torch import nn

from aird_plugin.models import build


@pytest.fixture(scope="module")
def state() -> dict:
    torch.manual_seed(0)
    net = build("mfn", 32)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net.state_dict()


@pytest.fixture
def teacher_file(state, tmp_path):
    torch.save(state, tmp_path / "model.pt")
    return tmp_path / "model.pt"
