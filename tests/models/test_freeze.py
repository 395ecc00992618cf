"""A frozen trunk: its weights and statistics are fixed, the head is trained, and the state dict is unchanged."""

import copy

import pytest
import torch
from torch import nn

from aird_plugin.models import build
from aird_plugin.models.freeze import freeze_trunk

HEADS = {
    "native16_0.05m": {"fc", "features"},
    "r18": {"bn2", "fc", "features"},
    "mbf": {"features"},
    "mfn": {"linear7", "linear1"},
}


def train_one_step(network):
    torch.manual_seed(0)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    network.train()
    network(torch.randn(4, 3, network.input_size, network.input_size)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", HEADS)
def test_one_step_changes_only_the_head(name):
    network = build(name, 8)
    before = copy.deepcopy(network.state_dict())
    freeze_trunk(network)
    train_one_step(network)
    changed = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == HEADS[name]


def test_one_step_changes_everything_without_freezing():
    """Control for the test above."""
    network = build("native16_0.05m", 8)
    before = copy.deepcopy(network.state_dict())
    train_one_step(network)
    assert {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])} == {
        "stages",
        "fc",
        "features",
    }


def test_trunk_stays_in_eval_mode_and_head_switches():
    network = build("native16_0.05m", 8)
    freeze_trunk(network)
    network.train()
    assert not any(module.training for module in network.stages.modules()) and network.features.training
    network.eval()
    assert not network.features.training


def test_state_dict_is_unchanged_and_copies_stay_frozen():
    plain, frozen = build("native16_0.05m", 8), build("native16_0.05m", 8)
    freeze_trunk(frozen)
    assert list(plain.state_dict()) == list(frozen.state_dict())
    plain.load_state_dict(frozen.state_dict())
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(plain.eval()(x), frozen.eval()(x))
    clone = copy.deepcopy(frozen).train()
    assert not clone.stages.training and clone.stages.train.args[0] is clone.stages


def test_network_without_stages_is_rejected():
    with pytest.raises(ValueError, match="Linear has no feature maps"):
        freeze_trunk(nn.Linear(2, 2))
