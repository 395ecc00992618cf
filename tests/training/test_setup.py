"""Batches of a TrainingSetup: where images are downsampled, and when the teacher runs."""

from dataclasses import fields, replace

import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.state import build_state


@pytest.fixture
def keys(tiny_run, tmp_path):
    return tiny_run | {"output": str(tmp_path / "out"), "views": 4, "bank": str(tmp_path / "bank")}


def assert_same(one, other) -> None:
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        pairs = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
        assert all(x is y is None or torch.equal(x, y) for x, y in pairs), field.name


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp"])
def test_downsampling_on_the_device_equals_the_workers(keys, degradation):
    state = build_state(from_flat(keys | {"online": True, "also_px": (8, 112), "degradation": degradation}))
    source = state.setup.source
    assert source.settings.downsamples, "on a CPU the source downsamples"
    expected = [source[number] for number in range(4)]
    source.settings = replace(source.settings, downsamples=False)
    for number, batch in enumerate(expected):
        assert source[number].images_BHWC is None
        assert_same(state.setup.to_device(source[number]), batch)


def test_the_teacher_runs_only_where_a_term_needs_it(keys):
    keys = {key: value for key, value in keys.items() if not key.startswith("rid_")}
    without = build_state(from_flat(keys | {"online": True, "terms": {}}))
    assert not without.setup.uses_teacher and without.setup.source[0].hr_BHWC is None
    source = without.setup.source
    source.settings = replace(source.settings, with_hr=True)
    assert without.setup.add_teacher_outputs(without.setup.source[0]).teacher_BD is None
    align = {"align": "aird_plugin.losses.cosine:CosineRegression"}
    aligned = build_state(from_flat(keys | {"online": True, "terms": align}))
    batch = aligned.setup.add_teacher_outputs(aligned.setup.source[0])
    expected = torch.from_numpy(aligned.setup.teacher.embed(batch.hr_BHWC.numpy()))
    assert aligned.setup.uses_teacher and torch.equal(batch.teacher_BD, expected)


def test_bank_on_the_device_returns_the_same_batches(keys, capsys):
    mapped, on_device = (build_state(from_flat(keys | {"bank_on": place})) for place in ("auto", "device"))
    assert on_device.setup.source.on_device and not mapped.setup.source.on_device
    assert "copied to cpu" in capsys.readouterr().err
    for number in range(4):
        assert_same(mapped.setup.source[number], on_device.setup.source[number])
