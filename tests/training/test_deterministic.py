"""What deterministic mode sets, that it is restored afterwards, and that it changes no bit on a CPU."""

import json
import os

import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.training.deterministic import WORKSPACE, deterministic, pin_kernels
from aird_plugin.training.loop import train
from tests.runs import assert_same_to_the_bit, weights


def flags() -> tuple:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, os.environ.get(WORKSPACE)


@pytest.mark.parametrize("workspace", [None, ":16:8"])
def test_the_mode_is_set_and_restored(workspace, monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    if workspace:
        monkeypatch.setenv(WORKSPACE, workspace)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = flags()
    with pytest.raises(KeyError), deterministic(True):
        assert flags() == (True, True, False, workspace or ":4096:8")
        torch.backends.cudnn.benchmark = True
        pin_kernels(False)
        assert torch.backends.cudnn.benchmark
        pin_kernels(True)
        assert flags() == (True, True, False, workspace or ":4096:8")
        raise KeyError
    assert flags() == before
    with deterministic(False):
        assert flags() == before


def test_the_mode_changes_no_bit_on_a_cpu(tiny_run, tmp_path):
    recorded, before, folders = [], flags(), []
    for enabled in (False, True):
        keys = {"output": str(tmp_path / str(enabled)), "num_epoch": 1, "deterministic": enabled}
        recipe = from_flat(tiny_run | keys)
        hook = torch.nn.modules.module.register_module_forward_hook(lambda *args: recorded.append(flags()[0]))
        folders.append(train(recipe))
        hook.remove()
        assert all(recorded) is enabled and recorded
        recorded.clear()
    assert_same_to_the_bit(*map(weights, folders))
    assert flags() == before


def test_resume_requires_the_same_threads_and_records_every_start(tiny_run, tmp_path):
    keys = tiny_run | {"output": str(tmp_path / "run"), "num_epoch": 1, "deterministic": True}
    train(from_flat(keys))
    path = tmp_path / "run" / "recipe.json"
    first = json.loads(path.read_text())
    assert "earlier" not in first and first["machine"]["threads"] == torch.get_num_threads()
    train(from_flat(keys))
    second = json.loads(path.read_text())
    start = {key: first[key] for key in ("versions", "code", "machine", "time", "world_size")}
    assert second["earlier"] == [start]
    second["machine"]["threads"] += 1
    path.write_text(json.dumps(second))
    with pytest.raises(ValueError, match="deterministic=True: this run began with threads .*OMP_NUM_THREADS"):
        train(from_flat(keys))
    train(from_flat(keys | {"deterministic": False}))
    assert len(json.loads(path.read_text())["earlier"]) == 2
