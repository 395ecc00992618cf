"""Whole runs of the native loop with margins and heads other than the default."""

from pathlib import Path

import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.training import loop
from aird_plugin.training.loop import compute_loss, resume, train
from aird_plugin.training.state import build_state
from tests.runs import metrics

CCFACE = {
    "centers": "frozen",
    "margin": "aird_plugin.losses.ccface:AdaptiveMargin",
    "terms": {"consistency": "aird_plugin.losses.ccface:Consistency"},
    "consistency_scale": 64.0,
    "consistency_threshold": 0.15,
}
RUNS = {
    "magface": {"margin": "aird_plugin.losses.magface:MagFace", "margin_l_a": 2.0, "margin_u_a": 4.0, "terms": {}},
    "adaface": {"margin": "aird_plugin.losses.adaface:AdaFace", "terms": {}},
    "rpcl": {"margin": "aird_plugin.losses.rpcl:Arc", "terms": {}},
    "ccface": CCFACE,
    "adadistill": {"centers": "adaptive", "terms": {}},
}


class Crash(Exception):
    """Raised in the middle of a run."""


@pytest.fixture
def keys_of(tiny_run, tmp_path):
    """A run of 18 steps by its name in RUNS."""
    bare = {key: value for key, value in tiny_run.items() if key not in ("terms", "rid_negatives")}
    return lambda name, **more: bare | RUNS[name] | {"output": str(tmp_path / "run"), "frequent": 1} | more


def checkpoint_of(folder) -> dict:
    path = max((Path(folder) / "checkpoints").iterdir())
    return {name: torch.load(path / f"{name}.pt", weights_only=True) for name in ("shared", "head_0")}


def break_at(monkeypatch, number: int) -> None:
    take_step = loop.take_step

    def crashing(state, batches, step):
        if step == number:
            raise Crash
        return take_step(state, batches, step)

    monkeypatch.setattr(loop, "take_step", crashing)


@pytest.mark.parametrize("name", RUNS)
def test_resumed_run_is_bit_identical(name, keys_of, tmp_path, monkeypatch):
    """Student, class centers and the buffers of the margin."""
    whole = train(from_flat(keys_of(name, output=str(tmp_path / "whole"))))
    with monkeypatch.context() as patched, pytest.raises(Crash):
        break_at(patched, 9)
        train(from_flat(keys_of(name, save_steps=2)))
    done = train(from_flat(keys_of(name, save_steps=2)))
    found, expected = checkpoint_of(done), checkpoint_of(whole)
    assert torch.equal(found["head_0"]["weight"], expected["head_0"]["weight"])
    for part in ("student", "margin"):
        assert found["shared"][part].keys() == expected["shared"][part].keys()
        for key, value in expected["shared"][part].items():
            assert torch.equal(found["shared"][part][key], value), key
    assert [line["identity"] for line in metrics(done)] == [line["identity"] for line in metrics(whole)]
    assert bool(expected["shared"]["margin"]) == (name == "adaface")


@pytest.mark.parametrize("name", RUNS)
def test_loss_falls_and_only_trainable_centers_move(name, keys_of):
    recipe = from_flat(keys_of(name, num_epoch=6))
    first = build_state(recipe).head.weight.detach().clone()
    rows = metrics(train(recipe))
    early, late = (sum(line["loss"] for line in part) for part in (rows[:6], rows[-6:]))
    # CCFace's margin grows with the agreement of student and teacher, and so does the identity loss.
    assert late < early or name == "ccface"
    assert torch.equal(checkpoint_of(recipe.run.output)["head_0"]["weight"], first) == (name == "ccface")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_centers_stay_under_momentum_and_decay(keys_of, optimizer):
    recipe = from_flat(keys_of("ccface", num_epoch=1, optimizer=optimizer, weight_decay=0.5))
    state = build_state(recipe)
    assert state.optimizers == [state.shared_optimizer]
    torch.testing.assert_close(state.head.weight.detach(), state.head.teacher_centers_CD)
    train(recipe)
    assert resume(state) == 6
    torch.testing.assert_close(state.head.weight.detach(), state.head.teacher_centers_CD)


def test_share_of_confident_images_is_logged(keys_of):
    rows = metrics(train(from_flat(keys_of("ccface", num_epoch=1))))
    assert all(0 < line["consistency_share"] <= 1 and line["consistency"] > 0 for line in rows)
    for line in rows:
        assert line["loss"] == pytest.approx(line["identity"] + line["consistency"], rel=1e-5)


def test_older_checkpoint_without_a_margin_loads(keys_of, tmp_path):
    recipe = from_flat(keys_of("rpcl", num_epoch=1))
    path = max((train(recipe) / "checkpoints").iterdir()) / "shared.pt"
    shared = torch.load(path, weights_only=True)
    del shared["margin"]
    torch.save(shared, path)
    assert resume(build_state(recipe)) == 6


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ccface", "consistency needs a teacher"),
        ("adadistill", "centers='adaptive' needs a teacher"),
    ],
)
def test_missing_teacher_is_rejected_before_training(name, words, keys_of):
    init = {} if name == "ccface" else {"head_init": "random", "embedding_size": 8}
    with pytest.raises(ValueError, match=words):
        build_state(from_flat(keys_of(name, teacher=None, **init)))


def test_width_other_than_the_teachers_is_rejected(keys_of):
    keys = keys_of("ccface", centers="trained", head_init="random", embedding_size=16, terms={})
    keys = {key: value for key, value in keys.items() if not key.startswith("consistency_")}
    with pytest.raises(ValueError, match="embedding_size=16, but the teacher's is 8"):
        build_state(from_flat(keys))


def test_default_margin_needs_no_teacher(tiny_run, tmp_path):
    keys = {key: value for key, value in tiny_run.items() if key not in ("terms", "rid_negatives")}
    state = build_state(from_flat(keys | {"output": str(tmp_path)}))
    batch = state.setup.source[0]
    assert batch.teacher_BD is None and torch.isfinite(compute_loss(state, batch, 0, 1)["loss"])
