"""A check that hangs or dies is a row; the processes that it started end with it."""

import multiprocessing
import os
import sys
import time

import pytest

from aird_plugin.diagnostics.gpu.check import FAILED, OK, Row
from aird_plugin.diagnostics.gpu.processes import run_command, run_limited

ASLEEP = "import time; print('begun', flush=True); time.sleep(1000)"
# A child in a session of its own, as torchrun's ranks are, which its parent ends after a SIGTERM.
LIKE_TORCHRUN = f"""
import signal, subprocess, sys
rank = subprocess.Popen([sys.executable, "-c", {ASLEEP!r}], start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: (rank.kill(), rank.wait(), sys.exit(1)))
print(rank.pid, flush=True)
rank.wait()
"""


def hangs(context):
    yield Row("before", OK)
    run_command(["-c", LIKE_TORCHRUN], context.scratch / "hangs.log", 1000, 1)


def dies(context):
    yield Row("before", OK)
    os.kill(os.getpid(), 9)


def works(context):
    assert multiprocessing.parent_process()
    yield Row("works", OK, context.device.type)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_check_that_hangs_is_ended_with_its_ranks(context):
    [row] = run_limited("hangs", hangs, context, 0)
    assert (row.status, row.figure) == (FAILED, "ended after its time limit of 0 s")
    rows, log = run_limited("hangs", hangs, context, 1000), context.scratch / "hangs.log"
    assert next(rows).status == OK
    until = time.monotonic() + 120
    while not (log.exists() and log.read_text().endswith("begun\n")):
        assert time.monotonic() < until, "the command did not begin"
        time.sleep(0.1)
    # The end that a time limit brings.
    rows.close()
    assert not alive(int(log.read_text().split()[0]))


@pytest.mark.slow
def test_a_check_that_dies_is_a_row_and_one_that_works_ends(context):
    assert [(row.status, row.figure) for row in run_limited("dies", dies, context, 120)] == [
        (OK, ""),
        (FAILED, "its process died, exit code -9"),
    ]
    assert [(row.what, row.status, row.figure) for row in run_limited("works", works, context, 120)] == [("works", OK, "cpu")]


def test_a_command_that_hangs_or_fails_is_an_error_with_its_last_line(tmp_path):
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="took more than 2 s; its last line: begun"):
        run_command(["-c", ASLEEP], tmp_path / "log", 2, 1)
    assert time.monotonic() - started < 20
    with pytest.raises(RuntimeError, match="^no such thing$"):
        run_command(["-c", "import sys; print('first'); sys.exit('no such thing')"], tmp_path / "log", 60, 1)
    with pytest.raises(RuntimeError, match="^exit code 3$"):
        run_command(["-c", "import sys; sys.exit(3)"], tmp_path / "log", 60, 1)
