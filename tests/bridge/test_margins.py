"""Non-default margins and heads inside arcface_torch: equal to the embedded loop, on two ranks, and after an interruption."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aird_plugin.bridge import hooks, wrappers
from aird_plugin.bridge.host import train
from aird_plugin.bridge.upstream_run import UpstreamRun
from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import compute_loss, resume
from aird_plugin.training.loop import train as train_embedded
from aird_plugin.training.state import build_state
from aird_plugin.utils.errors import Interrupted
from tests.bridge.test_ranks import assert_same, first_step, on_two_ranks

STEPS = 4
RUNS = {
    "magface": {"margin": "aird_plugin.losses.magface:MagFace", "margin_l_a": 2.0, "margin_u_a": 4.0},
    "adaface": {"margin": "aird_plugin.losses.adaface:AdaFace", "margin_t_alpha": 0.5},
    "rpcl": {"margin": "aird_plugin.losses.rpcl:Arc"},
    "ccface": {"centers": "frozen", "margin": "aird_plugin.losses.ccface:AdaptiveMargin"},
    "adadistill": {"centers": "adaptive"},
}
# Embedding norms, a regulariser and trained centers; a margin from the teacher and centers that it updates.
RANKED = {"lengths": RUNS["magface"], "teacher": RUNS["ccface"] | RUNS["adadistill"]}


def newest_checkpoint(folder) -> dict:
    checkpoint = max((Path(folder) / "checkpoints").iterdir())
    return {name: torch.load(checkpoint / f"{name}.pt", weights_only=True) for name in ("shared", "head_0")}


def margin_state(run) -> dict:
    return {key: value.clone() for key, value in run.margin.module.state_dict().items()} if run.margin else {}


def recorded_steps(keys: dict, checkout: str, monkeypatch) -> list[dict]:
    """State before each of the first steps, its loss and gradients."""
    steps: list[dict] = []
    original_begin, loss, clip_gradients = UpstreamRun.begin, UpstreamRun.loss, wrappers.clip_gradients

    def begin(run, batch_index, batch):
        student = {key: value.clone() for key, value in run.setup.student.state_dict().items()}
        steps.append({"student": student, "weight": run.head.weight.detach().clone(), "margin": margin_state(run)})
        return original_begin(run, batch_index, batch)

    def record_loss(run, *args):
        steps[-1]["loss"] = loss(run, *args)
        return steps[-1]["loss"]

    def record_gradients(original, run):
        clip = clip_gradients(original, run)

        def recording(parameters, limit):
            steps[-1]["gradients"] = [p.grad.clone() for p in run.setup.student.parameters() if p.grad is not None]
            if len(steps) == STEPS:
                raise Interrupted
            return clip(parameters, limit)

        return recording

    with monkeypatch.context() as patched:
        patched.setattr(UpstreamRun, "begin", begin)
        patched.setattr(UpstreamRun, "loss", record_loss)
        swapped = [replace(hook, wrap=record_gradients) if hook.wrap is clip_gradients else hook for hook in hooks.HOOKS]
        patched.setattr(hooks, "HOOKS", tuple(swapped))
        with pytest.raises(Interrupted):
            train(from_flat(keys), checkout)
    return steps


@pytest.mark.parametrize("name", RUNS)
def test_loss_and_gradients_match_the_embedded_loop(name, bridge_run, checkout, tmp_path, monkeypatch):
    keys = {key: value for key, value in bridge_run.items() if key != "rid_negatives"}
    keys |= RUNS[name] | {"lr": 0.01, "terms": {"iid": bridge_run["terms"]["iid"]}}
    steps = recorded_steps(keys | {"output": str(tmp_path / "upstream")}, checkout, monkeypatch)
    state = build_state(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    for number, step in enumerate(steps):
        state.setup.student.load_state_dict(step["student"])
        state.head.margin.load_state_dict(step["margin"])
        with torch.no_grad():
            state.head.weight.copy_(step["weight"])
        state.setup.student.zero_grad()
        out = compute_loss(state, state.setup.source[number], number, number + 1)
        out["loss"].backward()
        assert out["loss"].item() == pytest.approx(step["loss"].item(), rel=1e-5)
        gradients = [p.grad for p in state.setup.student.parameters() if p.grad is not None]
        whole = torch.stack([g.norm() for g in step["gradients"]]).norm()
        assert len(gradients) == len(step["gradients"])
        for one, other in zip(gradients, step["gradients"], strict=True):
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
def test_interrupted_run_resumes_bit_identically_in_both_loops(name, bridge_run, checkout, tmp_path, monkeypatch):
    keys = bridge_run | RUNS[name] | {"save_steps": 2, "num_epoch": 2}
    whole = train(from_flat(keys | {"output": str(tmp_path / "whole")}), checkout)
    begin = UpstreamRun.begin

    def failing_begin(run, batch_index, batch):
        if batch_index == 9:
            raise KeyboardInterrupt
        return begin(run, batch_index, batch)

    recipe = from_flat(keys | {"output": str(tmp_path / "run")})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(UpstreamRun, "begin", failing_begin)
        train(recipe, checkout)
    ours, theirs = newest_checkpoint(train(recipe, checkout)), newest_checkpoint(whole)
    assert torch.equal(ours["head_0"]["weight"], theirs["head_0"]["weight"])
    for part in ("student", "margin"):
        assert all(torch.equal(value, theirs["shared"][part][key]) for key, value in ours["shared"][part].items())
    assert bool(ours["shared"]["margin"]) == (name == "adaface")
    state = build_state(recipe)
    assert resume(state) == 12 and torch.equal(state.head.weight, ours["head_0"]["weight"])
    for key, value in state.head.margin.state_dict().items():
        assert torch.equal(value, ours["shared"]["margin"][key])


def test_upstream_resumes_an_embedded_run(bridge_run, checkout, tmp_path):
    keys = bridge_run | RUNS["adaface"] | {"output": str(tmp_path)}
    one = newest_checkpoint(train_embedded(from_flat(keys | {"num_epoch": 1, "schedule": "step"})))
    recipe = from_flat(keys | {"num_epoch": 1, "schedule": "step"})
    train(recipe, checkout)
    assert torch.equal(newest_checkpoint(tmp_path)["shared"]["margin"]["mean"], one["shared"]["margin"]["mean"])


def test_adaptive_centers_are_updated_with_sampled_classes(bridge_run, checkout, tmp_path):
    keys = bridge_run | RUNS["adadistill"] | {"output": str(tmp_path), "sample_rate": 0.5, "num_epoch": 1}
    first = build_state(from_flat(keys)).head.weight.detach()
    moved = (newest_checkpoint(train(from_flat(keys), checkout))["head_0"]["weight"] != first).any(1)
    assert moved.all(), "every identity has an image in the epoch"


def test_interclass_filtering_is_rejected_with_another_margin(bridge_run, checkout, tmp_path):
    keys = bridge_run | RUNS["magface"] | {"output": str(tmp_path), "upstream": {"interclass_filtering_threshold": 0.4}}
    with pytest.raises(ValueError, match="does not go with margin=aird_plugin.losses.magface:MagFace"):
        train(from_flat(keys), checkout)


@pytest.mark.parametrize("name", ["ccface", "adadistill"])
def test_upstream_reader_runs_the_teacher_for_the_head_alone(name, bridge_run, checkout, tmp_path):
    """No loss term needs the teacher; the margin, or the class centers that it updates, do."""
    keys = {key: value for key, value in bridge_run.items() if key != "rid_negatives"}
    keys |= RUNS[name] | {"terms": {}, "reader": "upstream", "num_epoch": 1, "output": str(tmp_path)}
    first = build_state(from_flat(keys)).head.weight.detach()
    moved = (newest_checkpoint(train(from_flat(keys), checkout))["head_0"]["weight"] != first).any()
    assert moved == (name == "adadistill")
