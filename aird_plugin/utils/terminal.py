"""What a command prints."""

import io
import os
import select
import sys
from typing import TextIO


def print_any_name() -> None:
    """Let stdout escape what it cannot encode, as stderr does: the name of a file must not end a command after its work."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def reader_is_gone() -> bool:
    """Whether stdout or stderr is a pipe whose reader has closed it. A BrokenPipeError may also be of another connection."""
    return any(is_broken(stream) for stream in (sys.stdout, sys.stderr) if stream is not None)


def is_broken(stream: TextIO) -> bool:
    """Whether a stream is a pipe without a reader, where the system says so. A flush may not: a failed write drops its text."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    # Windows has no poll; a stream in memory has no number.
    except (AttributeError, OSError, ValueError):
        return False


def discard_output() -> bool:
    """Discard what is still to be written to a pipe without a reader; returns whether stdout or stderr is one."""
    broken = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and is_broken(stream)]
    for stream in broken:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    return bool(broken)
