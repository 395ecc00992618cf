import numpy as np
import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.pairs import identities_of, read_pairs
from aird_plugin.data.records import open_records
from aird_plugin.training.setup import TrainingSetup
from tools import count_warnings


def test_stages_come_in_order():
    names = [path.stem for path in count_warnings.in_order(None)]
    assert len(names) == len(set(names)) and len(names) > 50
    for first, then in (("gdrd_prior", "gdrd_r18_lr16_stage1"), ("gdrd_r18_lr16_stage1", "gdrd_r18_lr16")):
        assert names.index(first) < names.index(then)
    assert [path.stem for path in count_warnings.in_order(["small_allsizes"])] == ["faces15k_small_allsizes"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [({}, []), ({"warmup_epoch": 9}, ["WARNING warmup_epoch=9"]), ({"num_classes": 7}, ["WARNING stopped: labels"])],
    ids=["clean", "warns", "stops"],
)
def test_a_run_of_two_steps_is_counted(changes, found, tiny_run, tmp_path, monkeypatch):
    kept = TrainingSetup.total_steps
    monkeypatch.setattr(count_warnings, "load", lambda path: from_flat(tiny_run | {"output": str(tmp_path / "run")} | changes))
    monkeypatch.setattr(count_warnings, "clean", lambda recipe, folder: recipe)
    lines = count_warnings.warnings_of(tmp_path, tmp_path)
    assert [line[: len(words)] for line, words in zip(lines, found, strict=True)] == found
    assert TrainingSetup.total_steps is kept


def test_data_are_of_different_identities(aird_data, tmp_path):
    count_warnings.write_data(tmp_path, 2)
    records, pairs = open_records(str(tmp_path / "faces")), read_pairs(tmp_path / "pairs.bin")
    assert (len(records), records.num_classes, len(pairs.same)) == (128, 64, 20)
    assert len(set(identities_of(np.arange(40), pairs.same).tolist())) == 30
    training = {records.payload(row) for row in range(len(records))}
    assert not training & set(map(bytes, pairs.images)) and len(set(map(bytes, pairs.images))) == 40


@pytest.mark.slow
def test_a_recipe_of_the_repository_does_not_warn(aird_data, tmp_path, capsys):
    """One of them: all take an hour or more, `python tools/count_warnings.py`."""
    assert count_warnings.main(["--folder", str(tmp_path), "--only", "faces15k_small_lr16_cls"]) == 0, capsys.readouterr().out
