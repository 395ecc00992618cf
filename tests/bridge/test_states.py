"""A killed and resumed run equals an unbroken one; a run goes on in the other host, either way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from aird_plugin.assemble import assemble
from aird_plugin.bridge.host import train
from aird_plugin.bridge.hosted import Hosted
from aird_plugin.loop import resume
from aird_plugin.loop import train as train_embedded
from aird_plugin.recipe import from_flat

ROOT = Path(__file__).parents[2]


def weights(folder) -> dict[str, torch.Tensor]:
    return torch.load(Path(folder) / "model.pt", weights_only=True)


def steps(folder) -> list[int]:
    return [json.loads(line)["step"] for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def assert_same_to_the_bit(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def newest(folder) -> tuple[dict, dict]:
    place = max((Path(folder) / "checkpoints").iterdir())
    return tuple(torch.load(place / name, weights_only=True) for name in ("shared.pt", "head_0.pt"))


@pytest.fixture(scope="module")
def unbroken(bridge_run, checkout, tmp_path_factory):
    return train(from_flat(bridge_run | {"output": str(tmp_path_factory.mktemp("unbroken") / "run")}), checkout)


class Power(Exception):
    """It fails."""


def break_at(monkeypatch, number: int) -> None:
    begin = Hosted.begin

    def dying(hosted, at, batch):
        if at == number:
            raise Power
        return begin(hosted, at, batch)

    monkeypatch.setattr(Hosted, "begin", dying)


@pytest.mark.parametrize("change", [{}, {"optimizer": "adamw", "lr": 1e-3}])
def test_a_broken_run_goes_on_to_the_same_bit(change, bridge_run, checkout, unbroken, tmp_path, monkeypatch):
    """Broken in the second epoch and again in the third, between checkpoints."""
    keys = bridge_run | {"output": str(tmp_path / "run"), "save_steps": 2} | change
    whole = train(from_flat(keys | {"output": str(tmp_path / "whole")}), checkout) if change else unbroken
    for number in (9, 13):
        with monkeypatch.context() as patched, pytest.raises(Power):
            break_at(patched, number)
            train(from_flat(keys), checkout)
    done = train(from_flat(keys), checkout)
    assert_same_to_the_bit(weights(done), weights(whole))
    assert steps(done) == list(range(1, 19))
    ours, theirs = newest(done), newest(whole)
    assert_same_to_the_bit(ours[0]["objective"], theirs[0]["objective"])
    assert torch.equal(ours[1]["weight"], theirs[1]["weight"])
    assert not list(Path(done).glob("checkpoint_gpu_*")), "the file handed to upstream would be stale"


def test_a_finished_run_says_so_again(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "num_epoch": 1}
    done = train(from_flat(keys), checkout)
    before = weights(done)
    assert_same_to_the_bit(weights(train(from_flat(keys), checkout)), before)
    assert not list(Path(done).glob("checkpoint_gpu_*")), "no step came that would have removed what upstream was handed"


def test_resume_false_starts_again(bridge_run, checkout, unbroken, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run")}
    train(from_flat(keys | {"num_epoch": 1}), checkout)
    again = train(from_flat(keys | {"resume": False}), checkout)
    assert_same_to_the_bit(weights(again), weights(unbroken))


def test_upstreams_own_states_stay_where_they_are_asked_for(bridge_run, checkout, tmp_path):
    """Its file holds its class centres under its own names, nothing of ours beside them."""
    keys = bridge_run | {"output": str(tmp_path / "run"), "num_epoch": 2, "save_all_states": True}
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Power):
        break_at(patched, 8)
        train(from_flat(keys), checkout)
    train(from_flat(keys), checkout)
    state = torch.load(tmp_path / "run" / "checkpoint_gpu_0.pt", weights_only=True)
    assert (state["epoch"], state["global_step"]) == (2, 12) and set(state["state_dict_softmax_fc"]) == {"weight"}
    assert_same_to_the_bit(state["state_dict_backbone"], weights(tmp_path / "run"))


def test_another_recipe_in_the_same_folder_is_refused(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "num_epoch": 1}
    train(from_flat(keys), checkout)
    with pytest.raises(ValueError, match="lr was 0.05, now 0.1"):
        train(from_flat(keys | {"lr": 0.1}), checkout)


def test_the_embedded_host_takes_up_what_the_hosted_run_left(bridge_run, checkout, unbroken, tmp_path, monkeypatch):
    """Weights, class centres, relation networks and momentum arrive; the steps that follow differ by rounding alone."""
    keys = bridge_run | {"output": str(tmp_path / "run"), "save_steps": 1}
    with monkeypatch.context() as patched, pytest.raises(Power):
        break_at(patched, 16)
        train(from_flat(keys), checkout)
    training = assemble(from_flat(keys))
    assert resume(training) == 16
    shared, head = newest(tmp_path / "run")
    assert_same_to_the_bit(dict(training.student.state_dict()), shared["student"])
    assert_same_to_the_bit(dict(training.objective.state_dict()), shared["objective"])
    assert torch.equal(training.head.weight, head["weight"])
    momenta = [values["momentum_buffer"] for values in training.shared_optimizer.state_dict()["state"].values()]
    wanted = [*training.student.parameters(), *training.objective.parameters()]
    assert [m.shape for m in momenta] == [p.shape for p in wanted if p.requires_grad]
    done = train_embedded(from_flat(keys))
    assert steps(done) == list(range(1, 19))
    for name, value in weights(unbroken).items():
        torch.testing.assert_close(weights(done)[name], value, rtol=1e-3, atol=1e-4)


def test_upstream_takes_up_what_the_embedded_host_left(bridge_run, checkout, tmp_path):
    keys = bridge_run | {"output": str(tmp_path / "run"), "save_steps": 1}
    whole = train_embedded(from_flat(keys | {"output": str(tmp_path / "whole")}))
    (tmp_path / "run").mkdir()
    shutil.copytree(whole / "checkpoints" / "step_00000017", tmp_path / "run" / "checkpoints" / "step_00000017")
    done = train(from_flat(keys), checkout)
    assert steps(done) == [18]
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(done)[name], value, rtol=1e-3, atol=1e-4)


def test_ctrl_c_saves_and_the_same_command_goes_on(bridge_run, tmp_path, checkout):
    """The whole program: exit code 130 and one line; the next run's story has no gap."""
    folder = tmp_path / "run"
    recipe = tmp_path / "tiny.py"
    keys = bridge_run | {"output": str(folder), "num_epoch": 60}
    recipe.write_text(f"from easydict import EasyDict\nconfig = EasyDict({keys!r})\n")
    command = [sys.executable, str(ROOT / "train.py"), str(recipe), "--arcface-torch", checkout]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ((folder / "metrics.jsonl").exists() and len(steps(folder)) > 3):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "the same command goes on from there" in err and "Traceback" not in err
    stopped = newest(folder)[0]["step"]
    assert stopped >= 4 and weights(folder).keys() == newest(folder)[0]["student"].keys()
    again = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and steps(folder)[-1] <= stopped:
        time.sleep(0.05)
    again.kill()
    again.wait()
    assert steps(folder)[: stopped + 1] == list(range(1, stopped + 2))


def test_two_ranks_under_torchrun_and_on_with_one(bridge_run, checkout, tmp_path):
    """The whole program on two ranks; one rank then goes on from their checkpoint, class centres joined."""
    folder = tmp_path / "run"
    keys = bridge_run | {"output": str(folder), "batch_size": 4, "num_epoch": 2}
    recipe = tmp_path / "tiny.py"
    recipe.write_text(f"from easydict import EasyDict\nconfig = EasyDict({keys!r})\n")
    arguments = [str(ROOT / "train.py"), str(recipe), "--arcface-torch", checkout]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, *arguments], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: ") == 1 and steps(folder) == list(range(1, 13))
    last = max((folder / "checkpoints").iterdir())
    assert {path.name for path in last.iterdir()} == {"shared.pt", "head_0.pt", "head_1.pt"}
    shards = [torch.load(last / f"head_{rank}.pt", weights_only=True)["weight"] for rank in range(2)]
    training = assemble(from_flat(keys))
    assert resume(training) == 12 and torch.equal(training.head.weight, torch.cat(shards))
    alone = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, timeout=200)
    assert alone.returncode == 0, alone.stderr
    assert steps(folder) == list(range(1, 25))
