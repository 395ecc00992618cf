"""A check in a process of its own with a time limit, and commands of the package with one.

After a failed CUDA kernel every later call of its process fails, and a collective without its peer waits: neither may reach
the next check.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from aird_plugin.diagnostics.gpu.check import FAILED, Check, CheckContext, Row, run_check

# torchrun starts every rank in a session of its own, and gives the ranks 30 s to end after a SIGTERM before it kills them.
GRACE_S = 40.0
POLL_S = 0.1


def run_limited(name: str, check: Check, context: CheckContext, limit_s: float) -> Iterator[Row]:
    """The rows of a check that runs in a process of its own; a FAILED row if it takes more than `limit_s` seconds or dies."""
    spawning = multiprocessing.get_context("spawn")
    reader, writer = spawning.Pipe(duplex=False)
    process = spawning.Process(target=send_rows, args=(writer, name, check, context))
    started = time.monotonic()
    process.start()
    # Only the child holds it now: its death ends the pipe.
    writer.close()
    try:
        while reader.poll(max(0.0, started + limit_s - time.monotonic())):
            row = reader.recv()
            if row is None:
                process.join(GRACE_S)
                return
            yield row
        yield Row(name, FAILED, f"ended after its time limit of {limit_s:.0f} s", seconds=time.monotonic() - started)
    except EOFError:
        process.join(GRACE_S)
        yield Row(name, FAILED, f"its process died, exit code {process.exitcode}", seconds=time.monotonic() - started)
    finally:
        end_group(process)
        reader.close()


def send_rows(writer: Connection, name: str, check: Check, context: CheckContext) -> None:
    """Run a check in this process and send its rows, then None."""
    if hasattr(os, "setsid"):
        os.setsid()
    for row in run_check(name, check, context):
        writer.send(row)
    writer.send(None)


def end_group(process: BaseProcess) -> None:
    """End a check's process and the processes that it started: SIGTERM, and SIGKILL for those left after `GRACE_S` seconds."""
    if not hasattr(os, "killpg"):
        process.kill()
        process.join()
        return
    assert process.pid is not None
    # Before its first statement a process has no group of its own.
    process.terminate()
    until = time.monotonic() + GRACE_S
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < until:
            process.join(POLL_S)
            os.killpg(process.pid, 0)
            time.sleep(POLL_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def run_command(arguments: list[str], log: Path, limit_s: float, threads: int) -> None:
    """Run this Python with arguments; its output goes to a file.

    Raises RuntimeError with the last line of the output for an exit code other than 0, and after `limit_s` seconds; then the
    process is ended, with GRACE_S seconds to end those that it started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # A file, not a pipe: ranks that outlive torchrun would keep a pipe open.
    with log.open("w") as out:
        env = os.environ | {"OMP_NUM_THREADS": str(threads)}
        process = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=subprocess.STDOUT, env=env)
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                end(process)
    if code:
        raise RuntimeError(last_line(log) or f"exit code {code}")
    if code is None:
        raise RuntimeError(f"took more than {limit_s:.0f} s; its last line: {last_line(log) or 'none'}")


def end(process: subprocess.Popen) -> None:
    """SIGTERM, and SIGKILL after `GRACE_S` seconds."""
    process.terminate()
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(log: Path) -> str:
    """The last line of a file that is not blank."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
