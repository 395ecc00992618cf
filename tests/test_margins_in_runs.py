"""Whole runs of the embedded host with the margins and heads that are not the default."""

import json
from pathlib import Path

import pytest
import torch

from aird_plugin import loop
from aird_plugin.assemble import assemble
from aird_plugin.loop import compute_loss, resume, train
from aird_plugin.recipe import from_flat

CCFACE = {
    "head_frozen": True, "margin": "aird_plugin.losses.ccface:AdaptiveMargin",
    "terms": {"consistency": "aird_plugin.losses.ccface:Consistency"}, "consistency_scale": 64.0, "consistency_threshold": 0.15,
}  # fmt: skip
RUNS = {
    "magface": {"margin": "aird_plugin.losses.magface:MagFace", "margin_l_a": 2.0, "margin_u_a": 4.0, "terms": {}},
    "adaface": {"margin": "aird_plugin.losses.adaface:AdaFace", "terms": {}},
    "rpcl": {"margin": "aird_plugin.losses.rpcl:Arc", "terms": {}},
    "ccface": CCFACE,
    "adadistill": {"head_adaptive": True, "terms": {}},
}


class Power(Exception):
    """It fails."""


@pytest.fixture
def keys_of(tiny_run, tmp_path):
    """A run of 18 steps by its name in RUNS."""
    bare = {key: value for key, value in tiny_run.items() if key not in ("terms", "rid_negatives")}
    return lambda name, **more: bare | RUNS[name] | {"output": str(tmp_path / "run"), "frequent": 1} | more


def checkpoint_of(folder) -> dict:
    place = max((Path(folder) / "checkpoints").iterdir())
    return {name: torch.load(place / f"{name}.pt", weights_only=True) for name in ("shared", "head_0")}


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def break_at(monkeypatch, number: int) -> None:
    take_step = loop.take_step

    def dying(training, batches, step):
        if step == number:
            raise Power
        return take_step(training, batches, step)

    monkeypatch.setattr(loop, "take_step", dying)


@pytest.mark.parametrize("name", RUNS)
def test_a_broken_run_goes_on_to_the_same_bit(name, keys_of, tmp_path, monkeypatch):
    """Student, class centres and what the margin remembers."""
    whole = train(from_flat(keys_of(name, output=str(tmp_path / "whole"))))
    with monkeypatch.context() as patched, pytest.raises(Power):
        break_at(patched, 9)
        train(from_flat(keys_of(name, save_steps=2)))
    done = train(from_flat(keys_of(name, save_steps=2)))
    ours, theirs = checkpoint_of(done), checkpoint_of(whole)
    assert torch.equal(ours["head_0"]["weight"], theirs["head_0"]["weight"])
    for part in ("student", "margin"):
        assert ours["shared"][part].keys() == theirs["shared"][part].keys()
        for key, value in theirs["shared"][part].items():
            assert torch.equal(ours["shared"][part][key], value), key
    assert [line["identity"] for line in lines(done)] == [line["identity"] for line in lines(whole)]
    assert bool(theirs["shared"]["margin"]) == (name == "adaface")


@pytest.mark.parametrize("name", RUNS)
def test_it_learns_and_the_centres_move_where_they_should(name, keys_of):
    recipe = from_flat(keys_of(name, num_epoch=6))
    first = assemble(recipe).head.weight.detach().clone()
    told = lines(train(recipe))
    early, late = (sum(line["loss"] for line in part) for part in (told[:6], told[-6:]))
    # CCFace's margin grows as the student comes to agree with the teacher, and the identity loss with it.
    assert late < early or name == "ccface"
    assert torch.equal(checkpoint_of(recipe.run.output)["head_0"]["weight"], first) == (name == "ccface")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_centres_stay_to_the_bit_under_momentum_and_decay(keys_of, optimizer):
    recipe = from_flat(keys_of("ccface", num_epoch=1, optimizer=optimizer, weight_decay=0.5))
    training = assemble(recipe)
    assert training.optimizers == [training.shared_optimizer]
    torch.testing.assert_close(training.head.weight.detach(), training.head.teacher_centres_CD)
    train(recipe)
    assert resume(training) == 6
    torch.testing.assert_close(training.head.weight.detach(), training.head.teacher_centres_CD)


def test_the_share_of_confident_faces_is_told(keys_of):
    told = lines(train(from_flat(keys_of("ccface", num_epoch=1))))
    assert all(0 < line["consistency_share"] <= 1 and line["consistency"] > 0 for line in told)
    for line in told:
        assert line["loss"] == pytest.approx(line["identity"] + line["consistency"], rel=1e-5)


def test_an_older_checkpoint_without_a_margin_still_loads(keys_of, tmp_path):
    recipe = from_flat(keys_of("rpcl", num_epoch=1))
    place = max((train(recipe) / "checkpoints").iterdir()) / "shared.pt"
    shared = torch.load(place, weights_only=True)
    del shared["margin"]
    torch.save(shared, place)
    assert resume(assemble(recipe)) == 6


@pytest.mark.parametrize(("name", "words"), [
    ("ccface", "consistency needs a teacher"), ("adadistill", "head_adaptive needs a teacher"),
])  # fmt: skip
def test_a_missing_teacher_is_told_before_training(name, words, keys_of):
    init = {} if name == "ccface" else {"head_init": "random", "embedding_size": 8}
    with pytest.raises(ValueError, match=words):
        assemble(from_flat(keys_of(name, teacher=None, **init)))


def test_a_margin_of_another_width_than_the_teachers_is_told(keys_of):
    keys = keys_of("ccface", head_frozen=False, head_init="random", embedding_size=16, terms={})
    keys = {key: value for key, value in keys.items() if not key.startswith("consistency_")}
    with pytest.raises(ValueError, match="embedding_size=16, but the teacher's is 8"):
        assemble(from_flat(keys))


def test_the_default_margin_asks_nothing_of_the_teacher(tiny_run, tmp_path):
    keys = {key: value for key, value in tiny_run.items() if key not in ("terms", "rid_negatives")}
    training = assemble(from_flat(keys | {"output": str(tmp_path)}))
    batch = training.source[0]
    assert batch.teacher_BD is None and torch.isfinite(compute_loss(training, batch, 0, 1)["loss"])
