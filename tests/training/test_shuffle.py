"""The order of a run's images: chosen by key or size, recorded, and kept by a run that is resumed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.sampler import BatchSampler
from aird_plugin.data.streamed_sampler import StreamedSampler
from aird_plugin.training import shuffle
from aird_plugin.training.loop import train
from aird_plugin.training.shuffle import build_sampler, with_shuffle
from tests.faults.processes import lines
from tests.runs import assert_same_to_the_bit, weights


def chosen(keys: dict, images: int) -> str:
    return with_shuffle(from_flat(keys), images).data.shuffle


def test_the_order_follows_key_and_size(tiny_run, tmp_path):
    keys = tiny_run | {"output": str(tmp_path / "run")}
    assert chosen(keys, 1 << 24) == "permutation" and chosen(keys, (1 << 24) + 1) == "streamed"
    assert chosen(keys | {"shuffle": "streamed"}, 48) == "streamed"
    assert chosen(keys | {"shuffle": "permutation"}, 10**9) == "permutation"
    assert chosen(keys | {"faces_per_person": 2}, 10**9) == "permutation"
    with pytest.raises(ValueError, match="faces_per_person=2 keeps those of an identity together"):
        chosen(keys | {"faces_per_person": 2, "shuffle": "streamed"}, 48)
    with pytest.raises(ValueError, match="shuffle is one of auto, permutation, streamed; got 'random'"):
        from_flat(keys | {"shuffle": "random"})
    recipe, records = with_shuffle(from_flat(keys | {"shuffle": "streamed"}), 48), np.zeros(48)
    assert type(build_sampler(recipe, records)) is StreamedSampler
    recipe = replace(recipe, data=replace(recipe.data, shuffle="permutation"))
    assert type(build_sampler(recipe, records)) is BatchSampler


def test_a_run_keeps_its_order_when_it_is_resumed(tiny_run, tmp_path, monkeypatch):
    """One of permutations where "auto" is now another order, also where no record says so; and one of a streamed order."""
    keys = tiny_run | {"bank": str(tmp_path / "bank"), "num_epoch": 1, "frequent": 1}
    for name, above in (("permutation", 1 << 24), ("streamed", 10)):
        monkeypatch.setattr(shuffle, "STREAMED_ABOVE", above)
        train(from_flat(keys | {"output": str(tmp_path / name)}))
        found = json.loads((tmp_path / name / "recipe.json").read_text())
        assert found["shuffle"] == name and found["recipe"]["shuffle"] == "auto"
    assert lines(tmp_path / "streamed") != lines(tmp_path / "permutation")
    path = tmp_path / "permutation" / "recipe.json"
    before = json.loads(path.read_text())
    del before["shuffle"], before["recipe"]["shuffle"]
    path.write_text(json.dumps(before))
    assert chosen(keys | {"output": str(tmp_path / "permutation")}, 48) == "permutation"
    monkeypatch.setattr(shuffle, "STREAMED_ABOVE", 1 << 24)
    assert chosen(keys | {"output": str(tmp_path / "streamed")}, 48) == "streamed"
    assert chosen(keys | {"output": str(tmp_path / "streamed"), "resume": False}, 48) == "permutation"


def test_a_stopped_run_of_a_streamed_order_equals_the_uninterrupted_one(tiny_run, tmp_path):
    keys = tiny_run | {"bank": str(tmp_path / "bank"), "shuffle": "streamed", "schedule": "step", "frequent": 1}
    for epochs in (1, 2):
        train(from_flat(keys | {"output": str(tmp_path / "stopped"), "num_epoch": epochs}))
    train(from_flat(keys | {"output": str(tmp_path / "whole"), "num_epoch": 2}))
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    assert_same_to_the_bit(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
