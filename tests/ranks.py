"""Run a function on two ranks: two processes of one process group."""

import multiprocessing
import socket
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import torch.multiprocessing as mp

from aird_plugin.utils import distributed
from tests.exact import float64

# Seconds; the longest function takes ten on a busy machine.
TIMEOUT = 300


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def on_ranks(work: Callable, folder: Path, *args, ranks: int = 2) -> list:
    """Return the result of `work(*args)`, a module-level function, on each rank in float64: tensors in dicts and lists.

    The processes are kept for the next call, since starting them takes longer than most functions; the process group is new.
    """
    _processes(ranks).run(work, folder, args)
    return _results(folder, ranks)


def on_new_ranks(work: Callable, folder: Path, *args, ranks: int = 2) -> list:
    """`on_ranks` in processes of their own, for functions that measure their process."""
    mp.spawn(_on_rank, (ranks, free_port(), str(folder), work, args), nprocs=ranks)
    return _results(folder, ranks)


def _results(folder: Path, ranks: int) -> list:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


class _Processes:
    """One process per rank, started at the first call."""

    def __init__(self, ranks: int):
        self.ranks, self.processes, self.pipes = ranks, [], []

    def run(self, work: Callable, folder: Path, args: tuple) -> None:
        """Run the function on every rank. After an error the processes are ended, since some may wait for one another."""
        if not self.processes:
            self._start()
        port = free_port()
        for pipe in self.pipes:
            pipe.send((self.ranks, port, str(folder), work, args))
        try:
            for rank, pipe in enumerate(self.pipes):
                assert pipe.poll(TIMEOUT), f"rank {rank} did not answer within {TIMEOUT} s"
                error = pipe.recv()
                assert error is None, f"rank {rank}: {error}"
        except (AssertionError, EOFError):
            self._end()
            raise

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for rank in range(self.ranks):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, theirs), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self.pipes.append(ours)

    def _end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.processes, self.pipes = [], []


@cache
def _processes(ranks: int) -> _Processes:
    return _Processes(ranks)


def _serve(rank: int, pipe) -> None:
    """Answer each request with None, or with the traceback of its error; end with the process that asks."""
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        try:
            _on_rank(rank, *request)
        except Exception:
            pipe.send(traceback.format_exc())
        else:
            pipe.send(None)


def _on_rank(rank: int, ranks: int, port: int, folder: str, work: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    try:
        with float64():
            torch.save(work(*args), f"{folder}/{rank}.pt")
    finally:
        distributed.stop()
