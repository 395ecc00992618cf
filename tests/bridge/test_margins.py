"""Margins and heads that are not the default, inside arcface_torch: as the embedded host, on two ranks, and after a break."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aird_plugin.assemble import assemble
from aird_plugin.bridge import seams, wrappers
from aird_plugin.bridge.host import train
from aird_plugin.bridge.hosted import Hosted
from aird_plugin.errors import Interrupted
from aird_plugin.loop import compute_loss, resume
from aird_plugin.loop import train as train_embedded
from aird_plugin.recipe import from_flat
from tests.bridge.test_ranks import assert_same, first_step, on_two_ranks

STEPS = 4
RUNS = {
    "magface": {"margin": "aird_plugin.losses.magface:MagFace", "margin_l_a": 2.0, "margin_u_a": 4.0},
    "adaface": {"margin": "aird_plugin.losses.adaface:AdaFace", "margin_t_alpha": 0.5},
    "rpcl": {"margin": "aird_plugin.losses.rpcl:Arc"},
    "ccface": {"head_frozen": True, "margin": "aird_plugin.losses.ccface:AdaptiveMargin"},
    "adadistill": {"head_adaptive": True},
}
# Lengths, a regulariser and centres with a gradient; the teacher's agreement and centres that it moves.
RANKED = {"lengths": RUNS["magface"], "teacher": RUNS["ccface"] | RUNS["adadistill"] | {"head_frozen": False}}


def newest(folder) -> dict:
    place = max((Path(folder) / "checkpoints").iterdir())
    return {name: torch.load(place / f"{name}.pt", weights_only=True) for name in ("shared", "head_0")}


def memory(hosted) -> dict:
    return {key: value.clone() for key, value in hosted.margin.module.state_dict().items()} if hosted.margin else {}


def recorded_steps(keys: dict, checkout: str, monkeypatch) -> list[dict]:
    """What each of the first steps began with and found."""
    steps: list[dict] = []
    forward_before, loss, clip_gradients = Hosted.begin, Hosted.loss, wrappers.clip_gradients

    def begin(hosted, number, batch):
        state = {key: value.clone() for key, value in hosted.lesson.student.state_dict().items()}
        steps.append({"student": state, "weight": hosted.head.weight.detach().clone(), "margin": memory(hosted)})
        return forward_before(hosted, number, batch)

    def record_loss(hosted, *args):
        steps[-1]["loss"] = loss(hosted, *args)
        return steps[-1]["loss"]

    def record(original, hosted):
        clip = clip_gradients(original, hosted)

        def recording(parameters, limit):
            steps[-1]["gradients"] = [p.grad.clone() for p in hosted.lesson.student.parameters() if p.grad is not None]
            if len(steps) == STEPS:
                raise Interrupted
            return clip(parameters, limit)

        return recording

    with monkeypatch.context() as patched:
        patched.setattr(Hosted, "begin", begin)
        patched.setattr(Hosted, "loss", record_loss)
        swapped = [replace(seam, wrap=record) if seam.wrap is clip_gradients else seam for seam in seams.SEAMS]
        patched.setattr(seams, "SEAMS", tuple(swapped))
        with pytest.raises(Interrupted):
            train(from_flat(keys), checkout)
    return steps


@pytest.mark.parametrize("name", RUNS)
def test_both_hosts_compute_the_same(name, bridge_run, checkout, tmp_path, monkeypatch):
    keys = {key: value for key, value in bridge_run.items() if key != "rid_negatives"}
    keys |= RUNS[name] | {"lr": 0.01, "terms": {"iid": bridge_run["terms"]["iid"]}}
    steps = recorded_steps(keys | {"output": str(tmp_path / "hosted")}, checkout, monkeypatch)
    training = assemble(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    for number, step in enumerate(steps):
        training.student.load_state_dict(step["student"])
        training.head.margin.load_state_dict(step["margin"])
        with torch.no_grad():
            training.head.weight.copy_(step["weight"])
        training.student.zero_grad()
        out = compute_loss(training, training.source[number], number, number + 1)
        out["loss"].backward()
        assert out["loss"].item() == pytest.approx(step["loss"].item(), rel=1e-5)
        ours = [p.grad for p in training.student.parameters() if p.grad is not None]
        whole = torch.stack([g.norm() for g in step["gradients"]]).norm()
        assert len(ours) == len(step["gradients"])
        for one, other in zip(ours, step["gradients"], strict=True):
            assert (one - other).norm() <= 1e-5 * other.norm() + 1e-6 * whole
    moved = (steps[-1]["weight"] != steps[0]["weight"]).any()
    assert moved == (name != "ccface")


@pytest.mark.parametrize("name", RANKED)
def test_two_ranks_equal_one(name, bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "resume": False} | RANKED[name]
    whole = first_step(keys, checkout)
    parts = on_two_ranks(keys, checkout, tmp_path)
    for key in whole.keys() - {"shard", "head/weight"}:
        for part in parts:
            assert_same(part[key], whole[key], key)
    assert ("head/weight" in whole) == (name == "lengths")
    if "head/weight" in whole:
        assert_same(torch.cat([part["head/weight"] for part in parts]), whole["head/weight"], "head")


@pytest.mark.parametrize("name", ["adaface", "ccface", "adadistill"])
def test_a_broken_run_goes_on_to_the_same_bit_and_in_the_other_host(name, bridge_run, checkout, tmp_path, monkeypatch):
    keys = bridge_run | RUNS[name] | {"save_steps": 2, "num_epoch": 2}
    whole = train(from_flat(keys | {"output": str(tmp_path / "whole")}), checkout)
    begin = Hosted.begin

    def dying(hosted, number, batch):
        if number == 9:
            raise KeyboardInterrupt
        return begin(hosted, number, batch)

    recipe = from_flat(keys | {"output": str(tmp_path / "run")})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Hosted, "begin", dying)
        train(recipe, checkout)
    ours, theirs = newest(train(recipe, checkout)), newest(whole)
    assert torch.equal(ours["head_0"]["weight"], theirs["head_0"]["weight"])
    for part in ("student", "margin"):
        assert all(torch.equal(value, theirs["shared"][part][key]) for key, value in ours["shared"][part].items())
    assert bool(ours["shared"]["margin"]) == (name == "adaface")
    training = assemble(recipe)
    assert resume(training) == 12 and torch.equal(training.head.weight, ours["head_0"]["weight"])
    for key, value in training.head.margin.state_dict().items():
        assert torch.equal(value, ours["shared"]["margin"][key])


def test_the_other_way_the_bridge_goes_on_from_the_embedded_host(bridge_run, checkout, tmp_path):
    keys = bridge_run | RUNS["adaface"] | {"output": str(tmp_path)}
    one = newest(train_embedded(from_flat(keys | {"num_epoch": 1, "schedule": "step"})))
    recipe = from_flat(keys | {"num_epoch": 1, "schedule": "step"})
    train(recipe, checkout)
    assert torch.equal(newest(tmp_path)["shared"]["margin"]["mean"], one["shared"]["margin"]["mean"])


def test_the_teacher_moves_centres_where_upstream_samples_classes(bridge_run, checkout, tmp_path):
    keys = bridge_run | RUNS["adadistill"] | {"output": str(tmp_path), "sample_rate": 0.5, "num_epoch": 1}
    first = assemble(from_flat(keys)).head.weight.detach()
    moved = (newest(train(from_flat(keys), checkout))["head_0"]["weight"] != first).any(1)
    assert moved.all(), "every person has a face in the epoch"


def test_filtering_of_upstreams_own_margin_is_refused(bridge_run, checkout, tmp_path):
    keys = bridge_run | RUNS["magface"] | {"output": str(tmp_path), "upstream": {"interclass_filtering_threshold": 0.4}}
    with pytest.raises(ValueError, match="does not go with margin=aird_plugin.losses.magface:MagFace"):
        train(from_flat(keys), checkout)


@pytest.mark.parametrize("name", ["ccface", "adadistill"])
def test_upstreams_reader_asks_the_teacher_for_the_head_alone(name, bridge_run, checkout, tmp_path):
    """No term asks the teacher; the margin, or the class centres that it moves, do."""
    keys = {key: value for key, value in bridge_run.items() if key != "rid_negatives"}
    keys |= RUNS[name] | {"terms": {}, "reader": "upstream", "num_epoch": 1, "output": str(tmp_path)}
    first = assemble(from_flat(keys)).head.weight.detach()
    moved = (newest(train(from_flat(keys), checkout))["head_0"]["weight"] != first).any()
    assert moved == (name == "adadistill")
