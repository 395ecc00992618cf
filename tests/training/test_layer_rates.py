"""Learning rates by layer (`first_layer_lr`): the shares, a step by hand, the order of an .onnx file's layers, resumed runs."""

import pytest
import torch

from aird_plugin.bridge.host import refuse_schedule
from aird_plugin.config.recipe import from_flat
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.training.loop import set_learning_rate, train
from aird_plugin.training.optim import LAYER_GROUPS, ScheduleConfig, build_optimizer, layer_shares
from aird_plugin.training.state import build_state
from aird_plugin.training.student import layers_of
from tests.models.onnx_files import network, write_network
from tests.runs import assert_same_to_the_bit, stop_after, weights


def numbered(count: int) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.tensor([float(number)])) for number in range(count)]


@pytest.mark.parametrize("first", [0.01, 100.0])
def test_shares_are_geometric_from_the_first_layer_to_the_last(first):
    groups = layer_shares(numbered(3), first)
    assert [[parameter.item() for parameter in group["params"]] for group in groups] == [[0], [1], [2]]
    assert [group["lr_share"] for group in groups] == pytest.approx([first, first**0.5, 1])


def test_many_layers_share_groups_in_their_order():
    groups = layer_shares(numbered(100), 0.1)
    assert len(groups) == LAYER_GROUPS
    assert [parameter.item() for group in groups for parameter in group["params"]] == list(range(100))
    assert {len(group["params"]) for group in groups} == {8, 9}


@pytest.mark.parametrize(("count", "first"), [(0, 0.1), (1, 0.1), (5, 1.0)])
def test_one_group_where_nothing_differs(count, first):
    assert [(len(group["params"]), group["lr_share"]) for group in layer_shares(numbered(count), first)] == [(count, 1.0)]


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_by_hand(tiny_run, name):
    """Gradient 1, no momentum, no decay: SGD moves a weight by its learning rate, and so does AdamW's first step."""
    layers, other, frozen = numbered(3), numbered(1), torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    schedule = ScheduleConfig(optimizer=name, lr=9.0, momentum=0.0, weight_decay=0.0, first_layer_lr=0.01)
    optimizer = build_optimizer(schedule, other, [frozen, *layers])
    state = type("State", (), {"optimizers": [optimizer]})
    set_learning_rate(state, 0.1)
    before = [parameter.item() for parameter in (*layers, *other)]
    for parameter in (*layers, *other):
        parameter.grad = torch.ones(1)
    optimizer.step()
    moved = [old - parameter.item() for old, parameter in zip(before, (*layers, *other), strict=True)]
    assert moved == pytest.approx([0.001, 0.01, 0.1, 0.1], rel=1e-3) and frozen.item() == 0


def test_a_file_orders_its_layers_by_its_graph(tmp_path):
    """PyTorch lists its BatchNorm layers, which are modules, behind the other weights; the graph has each in its place."""
    pytest.importorskip("onnxruntime")
    student = OnnxNetwork(write_network(tmp_path / "net.onnx", network("native112_0.05m"), fold=False))
    names = {parameter: name for name, parameter in student.named_parameters()}
    ordered = [names[parameter] for parameter in layers_of(student, 0.1)]
    assert sorted(ordered) == sorted(names.values()) and ordered != list(names.values())
    sizes = [parameter.shape for parameter in network("native112_0.05m").parameters()]
    assert [dict(student.named_parameters())[name].shape for name in ordered] == sizes
    # As registered without rates, so that earlier checkpoints' momentum stays with its weight.
    assert [names[parameter] for parameter in layers_of(student, 1.0)] == list(names.values())


def test_a_resumed_run_equals_an_unbroken_one_and_differs_from_one_rate(tiny_run, tmp_path):
    keys = tiny_run | {"first_layer_lr": 0.1, "val_targets": ()}
    whole = weights(train(from_flat(keys | {"output": str(tmp_path / "whole")})))
    broken = {**keys, "output": str(tmp_path / "broken"), "save_steps": 1}
    stop_after(broken, 2)
    train(from_flat(broken))
    assert_same_to_the_bit(weights(tmp_path / "broken"), whole)
    plain = weights(train(from_flat(tiny_run | {"val_targets": (), "output": str(tmp_path / "plain")})))
    assert any(not torch.equal(plain[name], value) for name, value in whole.items())


def test_a_checkpoint_without_shares_is_resumed_at_one_rate(tiny_run, tmp_path):
    state = build_state(from_flat(tiny_run | {"val_targets": (), "output": str(tmp_path / "run")}))
    saved = state.shared_optimizer.state_dict()
    for group in saved["param_groups"]:
        del group["lr_share"]
    state.shared_optimizer.load_state_dict(saved)
    set_learning_rate(state, 0.25)
    assert {group["lr"] for group in state.shared_optimizer.param_groups} == {0.25}


def test_refused_where_it_cannot_be(tiny_run):
    with pytest.raises(ValueError, match="first_layer_lr must be above 0; got 0"):
        from_flat(tiny_run | {"first_layer_lr": 0, "output": "x"})
    with pytest.raises(ValueError, match=r"first_layer_lr=0\.5 does not run inside arcface_torch"):
        refuse_schedule(from_flat(tiny_run | {"first_layer_lr": 0.5, "output": "x"}))
