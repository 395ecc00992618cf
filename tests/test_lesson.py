"""What the hosts get of a batch: where its faces are shrunk, and when the teacher is asked."""

from dataclasses import fields

import pytest
import torch

from aird_plugin.assemble import assemble
from aird_plugin.recipe import from_flat


@pytest.fixture
def keys(tiny_run, tmp_path):
    return tiny_run | {"output": str(tmp_path / "out"), "views": 4, "bank": str(tmp_path / "bank")}


def assert_same(one, other) -> None:
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        pairs = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
        assert all(x is y is None or torch.equal(x, y) for x, y in pairs), field.name


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp"])
def test_the_device_shrinks_to_what_the_workers_would(keys, degradation):
    training = assemble(from_flat(keys | {"online": True, "also_px": (8, 112), "degradation": degradation}))
    source = training.source
    assert source.shrinks, "on a CPU the source does"
    theirs = [source[number] for number in range(4)]
    source.shrinks = False
    for number, expected in enumerate(theirs):
        assert source[number].faces_BHWC is None
        assert_same(training.receive(source[number]), expected)


def test_the_teacher_is_asked_only_where_somebody_listens(keys):
    keys = {key: value for key, value in keys.items() if not key.startswith("rid_")}
    silent = assemble(from_flat(keys | {"online": True, "terms": {}}))
    assert not silent.asks_teacher and silent.source[0].high_BHWC is None
    silent.source.with_high = True
    assert silent.ask_teacher(silent.source[0]).teacher_BD is None
    align = {"align": "aird_plugin.losses.alignment:Alignment"}
    asking = assemble(from_flat(keys | {"online": True, "terms": align}))
    batch = asking.ask_teacher(asking.source[0])
    expected = torch.from_numpy(asking.teacher.embed(batch.high_BHWC.numpy()))
    assert asking.asks_teacher and torch.equal(batch.teacher_BD, expected)


def test_a_bank_on_the_device_gives_the_same_batches(keys, capsys):
    mapped, resident = (assemble(from_flat(keys | {"bank_on": place})) for place in ("auto", "device"))
    assert resident.source.resident and not mapped.source.resident
    assert "whole on cpu" in capsys.readouterr().err
    for number in range(4):
        assert_same(mapped.source[number], resident.source[number])
