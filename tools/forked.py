"""Work in forked processes, for kill.py: started, waited for in a bounded time, asked for an answer."""

import json
import os
import signal
import time
import traceback
from pathlib import Path

# A work of seconds that takes so long hangs.
PATIENCE_S = 120


class Fault(Exception):
    """Something was lost, half-written, different, or hung."""


def fork(work) -> int:
    """Run `work` in a process of its own, which ends with it."""
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


def ended(child: int) -> int:
    """How a process ended. Raises Fault where it does not."""
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
    """Wait for a process that nobody shoots. Raises Fault where it fails."""
    if status := ended(child):
        raise Fault(f"{what}: ended with status {status} (AIRD_DEBUG=1 shows why)")


def asked(question, out: Path) -> object:
    """What `question(out)` answers, in a process of its own: this one must stay without threads, to be forked."""
    reader, writer = os.pipe()
    child = fork(lambda: os.write(writer, json.dumps(question(out)).encode()))
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read()
    finish(child, f"looking at {out.name}")
    return json.loads(text)
