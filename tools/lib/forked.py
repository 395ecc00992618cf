"""Forked processes for kill.py: start one, wait for it with a time limit, call a function in one."""

import json
import os
import signal
import time
import traceback
from pathlib import Path

# Time limit of a process, whose work takes seconds.
PATIENCE_S = 120


class Fault(Exception):
    """Something was lost, incomplete or different, or a process hung."""


def fork(work) -> int:
    """Run `work` in a child process, which ends afterwards. Returns its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2) if not os.environ.get("AIRD_DEBUG") else None
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_status(child: int) -> int:
    """Wait for a process and return its wait status. Raises Fault after `PATIENCE_S` seconds."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise Fault(f"a process hung for {PATIENCE_S} s")


def finish(child: int, what: str) -> None:
    """Wait for a process that must succeed. Raises Fault if it fails."""
    if status := exit_status(child):
        raise Fault(f"{what}: ended with status {status} (AIRD_DEBUG=1 shows why)")


def call_forked(function, out: Path) -> object:
    """`function(out)`, run in a child process: this process must stay without threads, to be forked."""
    reader, writer = os.pipe()
    child = fork(lambda: os.write(writer, json.dumps(function(out)).encode()))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read()
    finish(child, f"checking {out.name}")
    return json.loads(text)
