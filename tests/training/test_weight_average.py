"""The averaged weights: their values, what is verified and saved, checkpoints, and what they exclude."""

import json

import pytest
import torch

from aird_plugin.bridge.host import refuse_schedule
from aird_plugin.config.recipe import from_flat
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.models.load import load_model
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.training.loop import train
from aird_plugin.training.state import build_state
from aird_plugin.training.weight_average import WeightAverage
from tests.models.onnx_files import network, write_network
from tests.runs import assert_same_to_the_bit, stop_after, weights


def slow_average(values: list[float], decay: float) -> float:
    """The average of a number that takes these values after each step; it starts at the first."""
    average = values[0]
    for step, value in enumerate(values[1:], 1):
        d = min(decay, (1 + step) / (10 + step))
        average = d * average + (1 - d) * value
    return average


@pytest.mark.parametrize("decay, steps", [(0.5, 30), (0.99, 30)])
def test_average_follows_the_formula(decay, steps):
    """decay 0.5 ends its warm-up at step 8, 0.99 has not ended it at step 30."""
    student = torch.nn.Linear(1, 1).double()
    values = torch.randn(steps + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    student.weight.data.fill_(values[0])
    average = WeightAverage(student, decay)
    for value in values[1:]:
        student.weight.data.fill_(value)
        average.update()
    assert average.averaged.weight.item() == pytest.approx(slow_average(values, decay), rel=1e-12)
    assert student.weight.item() == values[-1]


def test_equal_weights_stay_equal_to_the_bit_and_integers_are_copied():
    student = torch.nn.BatchNorm1d(3)
    average = WeightAverage(student, 0.9)
    student.num_batches_tracked += 5
    average.update()
    assert torch.equal(average.averaged.weight, student.weight)
    assert average.averaged.num_batches_tracked == 5


def test_tied_weights_are_averaged_once():
    student = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False))
    student[1].weight = student[0].weight
    student[0].weight.data.zero_()
    average = WeightAverage(student, 0.1)
    student[0].weight.data.fill_(1.0)
    average.update()
    assert torch.allclose(average.averaged[1].weight, torch.full((2, 2), 0.9))


def test_graph_of_a_file_is_averaged(tmp_path):
    pytest.importorskip("onnxruntime")
    student = OnnxNetwork(str(write_network(tmp_path / "net.onnx", network("native112_0.05m"))))
    average = WeightAverage(student, 0.9)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 1
    for _ in range(3):
        average.update()
    first = {name: value.clone() for name, value in average.averaged.named_parameters()}
    assert first.keys() == dict(student.named_parameters()).keys()
    assert all(not torch.equal(first[name], value) for name, value in student.named_parameters())
    image = torch.zeros(1, 3, 112, 112)
    assert not torch.equal(average.averaged(image), student.eval()(image))


def test_averaged_student_is_verified_and_saved_and_a_resumed_run_equals_an_unbroken_one(tiny_run, pairs_file, tmp_path):
    keys = tiny_run | {"weight_average": 0.9, "frequent": 1, "verbose": 9, "val_targets": (pairs_file,)}
    whole = train(from_flat(keys | {"output": str(tmp_path / "whole")}))
    state = build_state(from_flat(keys | {"output": str(tmp_path / "whole")}))
    assert state.run_state.resume(state.setup.recipe.run) == state.setup.total_steps
    saved = weights(whole)
    for name, value in state.setup.average.averaged.state_dict().items():
        assert torch.equal(saved[name], value)
    assert any(not torch.equal(saved[name], value) for name, value in state.setup.student.named_parameters())
    row = json.loads((whole / "evaluation.json").read_text())[0]
    measured = PairEvaluator(load_model(whole), pairs_file).evaluate(row["px"], row["protocol"])
    assert measured["auc"] == row["auc"] and measured["accuracy"] == row["accuracy"]

    broken = {**keys, "output": str(tmp_path / "broken"), "save_steps": 1, "verbose": 0}
    stop_after(broken, 2)
    assert not (tmp_path / "broken" / "evaluation.json").exists()
    train(from_flat(broken))
    assert_same_to_the_bit(weights(tmp_path / "broken"), saved)
    rows = [json.loads((tmp_path / run / "evaluation.json").read_text()) for run in ("whole", "broken")]
    assert [row["auc"] for row in rows[0]] == [row["auc"] for row in rows[1]]


def test_refused_where_it_cannot_be(tiny_run):
    with pytest.raises(ValueError, match="weight_average is from 0 to below 1; got 1"):
        from_flat(tiny_run | {"weight_average": 1, "output": "x"})
    with pytest.raises(ValueError, match=r"weight_average=0\.9 does not run inside arcface_torch"):
        refuse_schedule(from_flat(tiny_run | {"weight_average": 0.9, "output": "x"}))
