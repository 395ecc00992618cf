"""A rank that hangs or died: the others end in a bounded time and name it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from aird_plugin.utils import rank_failure
from tests.ranks import free_port
from tests.runs import write_recipe

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 4


def start(recipe: Path, rank: int, port: int) -> subprocess.Popen:
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    command = [sys.executable, str(ROOT / "train.py"), str(recipe), f"rank_timeout={TIMEOUT_S}"]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_unresponsive_rank_is_named_by_the_others(tiny_run, tmp_path, number):
    folder, port = tmp_path / "run", free_port()
    keys = tiny_run | {"output": str(folder), "batch_size": 4, "num_epoch": 2000, "save_steps": 5}
    recipe = write_recipe(tmp_path / "tiny.py", keys)
    ranks = [start(recipe, rank, port) for rank in range(2)]
    try:
        deadline = time.monotonic() + 120
        while not list((folder / "checkpoints").glob("step_*")):
            assert time.monotonic() < deadline and ranks[0].poll() is None, "the run wrote no checkpoint"
            time.sleep(0.01)
        ranks[1].send_signal(number)
        since = time.monotonic()
        _, error = ranks[0].communicate(timeout=120)
        took = time.monotonic() - since
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert ranks[0].returncode == 1
    assert "error: rank 1 does not respond" in error and "the same command resumes" in error and "Traceback" not in error
    # The timeout of the collective, that of the check for missing ranks, and time to exit.
    assert took < TIMEOUT_S + rank_failure.GRACE_S + 15


def test_missing_ranks_are_listed(monkeypatch):
    port = free_port()
    store = dist.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    monkeypatch.setattr(rank_failure, "GRACE_S", 0.3)
    store.set("aird/answers/0/2", "here")
    assert rank_failure.missing(0, 3) == [1]
    assert rank_failure.missing(1, 3) == []
    assert rank_failure.account([1], 5) == (
        "rank 1 does not respond: gone, or hanging for 5 s (rank_timeout); the same command resumes from the newest checkpoint"
    )
    assert rank_failure.account([], 5).startswith("a collective failed;")


def test_missing_store_returns_none(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setattr(rank_failure, "GRACE_S", 0.3)
    assert rank_failure.missing(0, 2) is None
    assert "usually rank 0" in rank_failure.account(None, 5)


@pytest.mark.parametrize(
    ("text", "its"),
    [
        ("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1", True),
        ("NCCL error in: unhandled system error", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_communication_errors_are_recognized(text, its):
    assert rank_failure.of_talking(RuntimeError(text)) is its


def test_own_error_of_a_rank_propagates():
    with pytest.raises(RuntimeError, match="shapes"), rank_failure.process_group(None, 1.0):
        raise RuntimeError("shapes")
