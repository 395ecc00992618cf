"""A rank that hangs, or is gone: the others end in a bounded time and say which."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from aird_plugin import roll_call
from tests.ranks import free_port

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 4


def start(recipe: Path, rank: int, port: int) -> subprocess.Popen:
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    command = [sys.executable, str(ROOT / "train.py"), str(recipe), f"rank_timeout={TIMEOUT_S}"]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_the_others_say_which_rank_does_not_answer(tiny_run, tmp_path, number):
    folder, port = tmp_path / "run", free_port()
    keys = tiny_run | {"output": str(folder), "batch_size": 4, "num_epoch": 2000, "save_steps": 5}
    recipe = tmp_path / "tiny.py"
    recipe.write_text(f"from easydict import EasyDict\nconfig = EasyDict({keys!r})\n")
    ranks = [start(recipe, rank, port) for rank in range(2)]
    try:
        deadline = time.monotonic() + 120
        while not list((folder / "checkpoints").glob("step_*")):
            assert time.monotonic() < deadline and ranks[0].poll() is None, "the run never got there"
            time.sleep(0.01)
        ranks[1].send_signal(number)
        since = time.monotonic()
        _, told = ranks[0].communicate(timeout=120)
        took = time.monotonic() - since
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert ranks[0].returncode == 1
    assert "error: rank 1 does not answer" in told and "the same command goes on" in told and "Traceback" not in told
    # The collective's patience, the roll call's, and some to fall over.
    assert took < TIMEOUT_S + roll_call.GRACE_S + 15


def test_all_who_met_the_failure_are_there(monkeypatch):
    port = free_port()
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    monkeypatch.setattr(roll_call, "GRACE_S", 0.3)
    store.set("aird/answers/0/2", "here")
    assert roll_call.missing(0, 3) == [1]
    assert roll_call.missing(1, 3) == []
    assert roll_call.account([1], 5) == (
        "rank 1 does not answer: gone, or hanging for 5 s (rank_timeout); the same command goes on from the newest checkpoint"
    )
    assert roll_call.account([], 5).startswith("the ranks lost touch;")


def test_a_list_that_nobody_keeps(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setattr(roll_call, "GRACE_S", 0.3)
    assert roll_call.missing(0, 2) is None
    assert "usually rank 0" in roll_call.account(None, 5)


@pytest.mark.parametrize(("text", "its"), [
    ("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1", True),
    ("NCCL error in: unhandled system error", True),
    ("mat1 and mat2 shapes cannot be multiplied", False),
])  # fmt: skip
def test_failures_of_talking_are_told_from_a_ranks_own(text, its):
    assert roll_call.of_talking(RuntimeError(text)) is its


def test_an_error_of_this_ranks_own_passes():
    with pytest.raises(RuntimeError, match="shapes"), roll_call.joined(None, 1.0):
        raise RuntimeError("shapes")
