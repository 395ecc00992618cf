"""Both loops are equivalent: the same weights and batch give the same loss and gradients."""

from dataclasses import replace

import pytest
import torch

from aird_plugin.bridge import hooks, wrappers
from aird_plugin.bridge.host import train
from aird_plugin.bridge.upstream_run import UpstreamRun
from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import compute_loss
from aird_plugin.training.state import build_state
from aird_plugin.utils.errors import Interrupted

STEPS = 20


class Recorder:
    """Records weights, loss and gradients of a run inside arcface_torch before each step's update."""

    def __init__(self, monkeypatch):
        self.steps: list[dict] = []
        loss, clip_gradients = UpstreamRun.loss, wrappers.clip_gradients

        def record_loss(run, *args):
            self.steps.append({name: clone(part.state_dict()) for name, part in parts(run.setup, run.head).items()})
            self.steps[-1]["out"] = loss(run, *args)
            return self.steps[-1]["out"]

        def record_gradients(original, run):
            clip = clip_gradients(original, run)

            def recording(parameters, limit):
                self.steps[-1]["gradients"] = gradients(run.setup, run.head)
                if len(self.steps) == STEPS:
                    raise Interrupted
                return clip(parameters, limit)

            return recording

        monkeypatch.setattr(UpstreamRun, "loss", record_loss)
        swapped = [replace(hook, wrap=record_gradients) if hook.wrap is clip_gradients else hook for hook in hooks.HOOKS]
        monkeypatch.setattr(hooks, "HOOKS", tuple(swapped))


def parts(setup, head) -> dict:
    return {"student": setup.student, "head": head, "objective": setup.objective}


def clone(state: dict) -> dict:
    return {name: value.detach().clone() for name, value in state.items()}


def gradients(setup, head) -> dict[str, torch.Tensor]:
    return {
        f"{part}/{name}": parameter.grad.detach().clone()
        for part, module in parts(setup, head).items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def assert_same_gradients(ours: dict, theirs: dict, step: int) -> None:
    """1e-5 of the gradient's own norm, or 1e-6 of its network's: a bias before a BatchNorm has only rounding errors."""
    assert ours.keys() == theirs.keys() and any(name.startswith("objective/terms.rid") for name in ours)
    for name in ours:
        part = name.split("/")[0]
        whole = torch.stack([value.norm() for other, value in theirs.items() if other.startswith(part)]).norm()
        difference = (ours[name] - theirs[name]).norm()
        assert difference <= 1e-5 * theirs[name].norm() + 1e-6 * whole, f"step {step}, gradient of {name}: {difference:.1e}"


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"margin_gradient": "exact"},
        {"margin_list": (1.0, 0.0, 0.4), "margin_scale": 32.0},
        pytest.param({"network": "r18"}, marks=pytest.mark.slow),
    ],
)
def test_twenty_steps_have_the_same_loss_and_gradients(change, bridge_run, checkout, tmp_path, monkeypatch):
    keys = bridge_run | {"num_epoch": 4, "lr": 0.01} | change
    with monkeypatch.context() as patched:
        recorder = Recorder(patched)
        with pytest.raises(Interrupted):
            train(from_flat(keys | {"output": str(tmp_path / "upstream")}), checkout)
    state = build_state(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    assert len(recorder.steps) == STEPS
    for step, recorded in enumerate(recorder.steps):
        for name, part in parts(state.setup, state.head).items():
            part.load_state_dict(recorded[name])
            part.zero_grad()
        out = compute_loss(state, state.setup.source[step], step, step + 1)
        out["loss"].backward()
        assert out["loss"].item() == pytest.approx(recorded["out"].item(), rel=1e-5)
        assert_same_gradients(gradients(state.setup, state.head), recorded["gradients"], step)
