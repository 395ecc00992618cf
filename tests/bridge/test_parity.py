"""Both hosts compute the same: the same weights and batch give the same loss and gradients."""

from dataclasses import replace

import pytest
import torch

from aird_plugin.assemble import assemble
from aird_plugin.bridge import seams, wrappers
from aird_plugin.bridge.host import train
from aird_plugin.bridge.hosted import Hosted
from aird_plugin.errors import Interrupted
from aird_plugin.loop import compute_loss
from aird_plugin.recipe import from_flat

STEPS = 20


class Recorder:
    """What the hosted run has before each step's update: weights, loss, gradients."""

    def __init__(self, monkeypatch):
        self.steps: list[dict] = []
        loss, clip_gradients = Hosted.loss, wrappers.clip_gradients

        def before_the_loss(hosted, *args):
            self.steps.append({name: clone(part.state_dict()) for name, part in parts(hosted.lesson, hosted.head).items()})
            self.steps[-1]["out"] = loss(hosted, *args)
            return self.steps[-1]["out"]

        def before_the_update(original, hosted):
            clip = clip_gradients(original, hosted)

            def recording(parameters, limit):
                self.steps[-1]["gradients"] = gradients(hosted.lesson, hosted.head)
                if len(self.steps) == STEPS:
                    raise Interrupted
                return clip(parameters, limit)

            return recording

        monkeypatch.setattr(Hosted, "loss", before_the_loss)
        swapped = [replace(seam, wrap=before_the_update) if seam.wrap is clip_gradients else seam for seam in seams.SEAMS]
        monkeypatch.setattr(seams, "SEAMS", tuple(swapped))


def parts(lesson, head) -> dict:
    return {"student": lesson.student, "head": head, "objective": lesson.objective}


def clone(state: dict) -> dict:
    return {name: value.detach().clone() for name, value in state.items()}


def gradients(lesson, head) -> dict[str, torch.Tensor]:
    return {
        f"{part}/{name}": parameter.grad.detach().clone()
        for part, module in parts(lesson, head).items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def assert_same_gradients(ours: dict, theirs: dict, step: int) -> None:
    """1e-5 of its own size, or 1e-6 of its network's: a bias before a BatchNorm has no gradient but rounding."""
    assert ours.keys() == theirs.keys() and any(name.startswith("objective/terms.rid") for name in ours)
    for name in ours:
        part = name.split("/")[0]
        whole = torch.stack([value.norm() for other, value in theirs.items() if other.startswith(part)]).norm()
        difference = (ours[name] - theirs[name]).norm()
        assert difference <= 1e-5 * theirs[name].norm() + 1e-6 * whole, f"step {step}, gradient of {name}: {difference:.1e}"


@pytest.mark.parametrize("change", [
    {}, {"margin_gradient": "exact"}, {"margin_list": (1.0, 0.0, 0.4), "margin_scale": 32.0},
    pytest.param({"network": "r18"}, marks=pytest.mark.slow),
])  # fmt: skip
def test_twenty_steps_have_the_same_loss_and_gradients(change, bridge_run, checkout, tmp_path, monkeypatch):
    keys = bridge_run | {"num_epoch": 4, "lr": 0.01} | change
    with monkeypatch.context() as patched:
        recorder = Recorder(patched)
        with pytest.raises(Interrupted):
            train(from_flat(keys | {"output": str(tmp_path / "hosted")}), checkout)
    training = assemble(from_flat(keys | {"output": str(tmp_path / "embedded")}))
    assert len(recorder.steps) == STEPS
    for step, hosted in enumerate(recorder.steps):
        for name, part in parts(training, training.head).items():
            part.load_state_dict(hosted[name])
            part.zero_grad()
        out = compute_loss(training, training.source[step], step, step + 1)
        out["loss"].backward()
        assert out["loss"].item() == pytest.approx(hosted["out"].item(), rel=1e-5)
        assert_same_gradients(gradients(training, training.head), hosted["gradients"], step)
