"""A killed and resumed run equals an uninterrupted one; runs resume in the other loop, in both directions."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from aird_plugin.bridge.host import train
from aird_plugin.bridge.upstream_run import UpstreamRun
from aird_plugin.config.recipe import from_flat
from aird_plugin.training.loop import resume
from aird_plugin.training.loop import train as train_embedded
from aird_plugin.training.state import build_state
from tests.runs import assert_same_to_the_bit, metrics, weights, write_recipe

ROOT = Path(__file__).parents[2]


def steps(folder) -> list[int]:
    return [line["step"] for line in metrics(folder)]


def newest_checkpoint(folder) -> tuple[dict, dict]:
    checkpoint = max((Path(folder) / "checkpoints").iterdir())
    return tuple(torch.load(checkpoint / name, weights_only=True) for name in ("shared.pt", "head_0.pt"))


@pytest.fixture(scope="module")
def uninterrupted(bridge_run, checkout, tmp_path_factory):
    return train(from_flat(bridge_run | {"output": str(tmp_path_factory.mktemp("uninterrupted") / "run")}), checkout)


class PowerFailure(Exception):
    """Simulates a crash."""


def fail_at(monkeypatch, batch_index: int) -> None:
    begin = UpstreamRun.begin

    def failing_begin(run, index, batch):
        if index == batch_index:
            raise PowerFailure
        return begin(run, index, batch)

    monkeypatch.setattr(UpstreamRun, "begin", failing_begin)


@pytest.mark.parametrize("change", [{}, {"optimizer": "adamw", "lr": 1e-3}])
def test_interrupted_run_resumes_bit_identically(change, bridge_run, checkout, uninterrupted, tmp_path, monkeypatch):
    """Interrupted in the second epoch and again in the third, between checkpoints."""
    keys = bridge_run | {"output": str(tmp_path / "run"), "save_steps": 2} | change
    reference = train(from_flat(keys | {"output": str(tmp_path / "reference")}), checkout) if change else uninterrupted
    for batch_index in (9, 13):
        with monkeypatch.context() as patched, pytest.raises(PowerFailure):
            fail_at(patched, batch_index)
            train(from_flat(keys), checkout)
    folder = train(from_flat(keys), checkout)
    assert_same_to_the_bit(weights(folder), weights(reference))
    assert steps(folder) == list(range(1, 19))
    ours, theirs = newest_checkpoint(folder), newest_checkpoint(reference)
    assert_same_to_the_bit(ours[0]["objective"], theirs[0]["objective"])
    assert torch.equal(ours[1]["weight"], theirs[1]["weight"])
    assert not list(Path(folder).glob("checkpoint_gpu_*")), "a stale resume file is left"


def test_finished_run_stays_unchanged_when_rerun(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "num_epoch": 1}
    folder = train(from_flat(keys), checkout)
    before = weights(folder)
    assert_same_to_the_bit(weights(train(from_flat(keys), checkout)), before)
    assert not list(Path(folder).glob("checkpoint_gpu_*")), "the resume file is left, as no step removed it"


def test_resume_false_starts_from_scratch(bridge_run, checkout, uninterrupted, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run")}
    train(from_flat(keys | {"num_epoch": 1}), checkout)
    again = train(from_flat(keys | {"resume": False}), checkout)
    assert_same_to_the_bit(weights(again), weights(uninterrupted))


def test_save_all_states_keeps_upstreams_checkpoint(bridge_run, checkout, tmp_path):
    """Upstream's file contains its class centers under its own names and nothing of ours."""
    keys = bridge_run | {"output": str(tmp_path / "run"), "num_epoch": 2, "save_all_states": True}
    with pytest.MonkeyPatch.context() as patched, pytest.raises(PowerFailure):
        fail_at(patched, 8)
        train(from_flat(keys), checkout)
    train(from_flat(keys), checkout)
    state = torch.load(tmp_path / "run" / "checkpoint_gpu_0.pt", weights_only=True)
    assert (state["epoch"], state["global_step"]) == (2, 12) and set(state["state_dict_softmax_fc"]) == {"weight"}
    assert_same_to_the_bit(state["state_dict_backbone"], weights(tmp_path / "run"))


def test_another_recipe_in_the_same_folder_is_rejected(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "num_epoch": 1}
    train(from_flat(keys), checkout)
    with pytest.raises(ValueError, match="lr was 0.05, now 0.1"):
        train(from_flat(keys | {"lr": 0.1}), checkout)


def test_embedded_loop_resumes_an_upstream_run(bridge_run, checkout, uninterrupted, tmp_path, monkeypatch):
    """Weights, class centers, relation networks and momentum are restored; later steps differ by rounding only."""
    keys = bridge_run | {"output": str(tmp_path / "run"), "save_steps": 1}
    with monkeypatch.context() as patched, pytest.raises(PowerFailure):
        fail_at(patched, 16)
        train(from_flat(keys), checkout)
    state = build_state(from_flat(keys))
    assert resume(state) == 16
    shared, head = newest_checkpoint(tmp_path / "run")
    assert_same_to_the_bit(dict(state.setup.student.state_dict()), shared["student"])
    assert_same_to_the_bit(dict(state.setup.objective.state_dict()), shared["objective"])
    assert torch.equal(state.head.weight, head["weight"])
    momentum_buffers = [values["momentum_buffer"] for values in state.shared_optimizer.state_dict()["state"].values()]
    parameters = [*state.setup.student.parameters(), *state.setup.objective.parameters()]
    assert [m.shape for m in momentum_buffers] == [p.shape for p in parameters if p.requires_grad]
    folder = train_embedded(from_flat(keys))
    assert steps(folder) == list(range(1, 19))
    for name, value in weights(uninterrupted).items():
        torch.testing.assert_close(weights(folder)[name], value, rtol=1e-3, atol=1e-4)


def test_upstream_resumes_an_embedded_run(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "save_steps": 1}
    reference = train_embedded(from_flat(keys | {"output": str(tmp_path / "reference")}))
    (tmp_path / "run").mkdir()
    shutil.copytree(reference / "checkpoints" / "step_00000017", tmp_path / "run" / "checkpoints" / "step_00000017")
    folder = train(from_flat(keys), checkout)
    assert steps(folder) == [18]
    for name, value in weights(reference).items():
        torch.testing.assert_close(weights(folder)[name], value, rtol=1e-3, atol=1e-4)


def test_ctrl_c_saves_and_the_same_command_resumes(bridge_run, tmp_path, checkout):
    """The whole program: exit code 130 and one line; the log of the resumed run has no gap."""
    folder = tmp_path / "run"
    recipe = tmp_path / "tiny.py"
    keys = bridge_run | {"output": str(folder), "num_epoch": 60}
    write_recipe(recipe, keys)
    command = [sys.executable, str(ROOT / "train.py"), str(recipe), "--arcface-torch", checkout]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ((folder / "metrics.jsonl").exists() and len(steps(folder)) > 3):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "the same command continues from there" in err and "Traceback" not in err
    stopped = newest_checkpoint(folder)[0]["step"]
    assert stopped >= 4 and weights(folder).keys() == newest_checkpoint(folder)[0]["student"].keys()
    again = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and steps(folder)[-1] <= stopped:
        time.sleep(0.05)
    again.kill()
    again.wait()
    assert steps(folder)[: stopped + 1] == list(range(1, stopped + 2))


def test_two_ranks_under_torchrun_resume_on_one(bridge_run, checkout, tmp_path):
    """The whole program on two ranks; one rank resumes from their checkpoint with the class centers concatenated."""
    folder = tmp_path / "run"
    keys = bridge_run | {"output": str(folder), "batch_size": 4, "num_epoch": 2}
    recipe = write_recipe(tmp_path / "tiny.py", keys)
    arguments = [str(ROOT / "train.py"), str(recipe), "--arcface-torch", checkout]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*torchrun, *arguments], env=env, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("done: ") == 1 and steps(folder) == list(range(1, 13))
    last = max((folder / "checkpoints").iterdir())
    assert {path.name for path in last.iterdir()} == {"shared.pt", "head_0.pt", "head_1.pt"}
    shards = [torch.load(last / f"head_{rank}.pt", weights_only=True)["weight"] for rank in range(2)]
    state = build_state(from_flat(keys))
    assert resume(state) == 12 and torch.equal(state.head.weight, torch.cat(shards))
    alone = [sys.executable, *arguments, "batch_size=8", "num_epoch=4"]
    result = subprocess.run(alone, env=env, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert steps(folder) == list(range(1, 25))
