"""What the mode sets, that it is gone afterwards, and that it changes no bit on a CPU."""

import json
import os

import pytest
import torch

from aird_plugin.deterministic import WORKSPACE, deterministic, pin_kernels
from aird_plugin.loop import train
from aird_plugin.recipe import from_flat


def state() -> tuple:
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, os.environ.get(WORKSPACE)


@pytest.mark.parametrize("workspace", [None, ":16:8"])
def test_it_sets_and_puts_back(workspace, monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    if workspace:
        monkeypatch.setenv(WORKSPACE, workspace)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = state()
    with pytest.raises(KeyError), deterministic(True):
        assert state() == (True, True, False, workspace or ":4096:8")
        torch.backends.cudnn.benchmark = True
        pin_kernels(False)
        assert torch.backends.cudnn.benchmark
        pin_kernels(True)
        assert state() == (True, True, False, workspace or ":4096:8")
        raise KeyError
    assert state() == before
    with deterministic(False):
        assert state() == before


def test_on_a_cpu_the_mode_gives_the_bits_that_the_run_has_without_it(tiny_run, tmp_path):
    seen, before, weights = [], state(), []
    for wanted in (False, True):
        keys = {"output": str(tmp_path / str(wanted)), "num_epoch": 1, "deterministic": wanted}
        watched = from_flat(tiny_run | keys)
        hook = torch.nn.modules.module.register_module_forward_hook(lambda *args: seen.append(state()[0]))
        folder = train(watched)
        hook.remove()
        weights.append(torch.load(folder / "model.pt", weights_only=True))
        assert all(seen) is wanted and seen
        seen.clear()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert state() == before


def test_a_run_goes_on_with_the_same_threads_and_every_start_is_told(tiny_run, tmp_path):
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
