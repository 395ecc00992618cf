"""Run a function on two ranks: two processes of one process group."""

import socket
from collections.abc import Callable
from pathlib import Path

import torch
import torch.multiprocessing as mp

from aird_plugin.utils import distributed
from tests.exact import float64


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def on_ranks(work: Callable, folder: Path, *args, ranks: int = 2) -> list:
    """Return the result of `work(*args)`, a module-level function, on each rank in float64: tensors in dicts and lists."""
    mp.spawn(_on_rank, (ranks, free_port(), str(folder), work, args), nprocs=ranks)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def _on_rank(rank: int, ranks: int, port: int, folder: str, work: Callable, args: tuple) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    try:
        with float64():
            torch.save(work(*args), f"{folder}/{rank}.pt")
    finally:
        distributed.stop()
