"""Process group, collectives and their gradients. The only module that sends tensors through torch.distributed.

Conventions of the gradients (a test holds two ranks to one):
- a loss over gathered images is the same number on every rank, and every rank calls backward on it;
- `sum` over ranks passes the gradient through unchanged: each rank differentiates the same loss by its own summand;
- `gather_alike` returns to each rank its rows of a gradient that every rank has computed completely, times the number of ranks;
- `gather_rows` returns to each rank the gradient of the whole loss by its own rows, times the number of ranks, because
  DistributedDataParallel will divide the student's gradient by that number.

B = images on this rank, G = images on all ranks.
"""

import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import lru_cache
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
LAST_CALLBACKS_S = 0.05
LONGEST_WAIT = timedelta(days=7)


def start(device: torch.device, timeout: timedelta) -> None:
    """Join the process group that torchrun describes in the environment; without torchrun, do nothing.

    timeout: how long a collective waits for a rank.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    open_host_group()


def open_host_group() -> None:
    """Create the gloo group in which `wait_for_rank0` waits, where the process group is NCCL alone (arcface_torch's).

    Every rank calls it as soon as it has joined: creation waits for all of them, and fails after gloo's timeout.
    """
    if world_size() > 1:
        _host_group(dist.group.WORLD)


@lru_cache(maxsize=1)
def _host_group(world: dist.ProcessGroup) -> dist.ProcessGroup:
    return world if "cpu:" in dist.get_backend_config(world) else dist.new_group(backend="gloo")


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        # A gloo thread that releases a Python callback (such as DDP's compression hook) needs the GIL, and the thread that frees
        # the group holds the GIL while joining it. Sleeping releases the GIL, so that the gloo thread finishes first.
        time.sleep(LAST_CALLBACKS_S)
        _host_group.cache_clear()
        dist.destroy_process_group()


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Rank of this process; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def local_rank() -> int:
    """Rank of this process on its machine, from torchrun."""
    return int(os.environ.get("LOCAL_RANK", 0))


def launched_rank() -> int:
    """Rank of this process as torchrun started it, also without a process group."""
    return int(os.environ.get("RANK", 0))


def launched_ranks() -> int:
    """Number of processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def barrier() -> None:
    """Wait for the other ranks."""
    if world_size() > 1:
        dist.barrier()


def wait_for_rank0() -> None:
    """Wait until rank 0 has finished long work. A barrier would time out, and building a large bank takes hours. A rank 0
    that dies is detected at once, because its connection closes."""
    if world_size() == 1:
        return
    group, token = _host_group(dist.group.WORLD), torch.zeros(1)
    if rank() == 0:
        for other in range(1, world_size()):
            dist.send(token, other, group)
    else:
        dist.irecv(token, 0, group).wait(LONGEST_WAIT)


def rank0_first(action: Callable[[], T]) -> T:
    """The result of an action that rank 0 runs first: the others then find the files that it wrote."""
    if rank() == 0:
        result = action()
        wait_for_rank0()
        return result
    wait_for_rank0()
    return action()


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on at least one rank."""
    if world_size() == 1:
        return flag
    raised = torch.tensor(float(flag), device=device)
    dist.all_reduce(raised, dist.ReduceOp.MAX)
    return bool(raised.item())


def mean_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over ranks; without gradient."""
    if world_size() == 1:
        return x
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over ranks: for the few weights that DistributedDataParallel does not hold."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()


def gather_rows(rows_BX: torch.Tensor) -> torch.Tensor:
    """Rows of all ranks in rank order, (G, ...), with gradient to this rank's rows (see above). Every rank has B rows."""
    return _GatherRows.apply(rows_BX) if world_size() > 1 else rows_BX


def gather_alike(rows_BX: torch.Tensor) -> torch.Tensor:
    """Rows of all ranks in rank order, (G, ...), for a loss that every rank computes identically from them (see above)."""
    return _GatherAlike.apply(rows_BX) if world_size() > 1 else rows_BX


class ClassShards:
    """Combines per-row values over ranks that each hold a part of the classes (the other case of `losses.sharding`)."""

    is_sharded = True

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(x)

    def max(self, x: torch.Tensor) -> torch.Tensor:
        top = x.detach().clone()
        dist.all_reduce(top, dist.ReduceOp.MAX)
        return top

    def mean_over_ranks(self, x: torch.Tensor) -> torch.Tensor:
        return mean_over_ranks(x)

    def gather(self, rows_BX: torch.Tensor) -> torch.Tensor:
        return gather_alike(rows_BX)

    def gather_rows(self, rows_BX: torch.Tensor) -> torch.Tensor:
        return gather_rows(rows_BX)

    def first_row(self, count: int) -> int:
        return rank() * count


class _GatherAlike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows_BX):
        parts = [torch.empty_like(rows_BX) for _ in range(world_size())]
        dist.all_gather(parts, rows_BX.contiguous())
        ctx.count = len(rows_BX)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad_GX):
        first = rank() * ctx.count
        return grad_GX[first : first + ctx.count] * world_size()


class _GatherRows(_GatherAlike):
    @staticmethod
    def backward(ctx, grad_GX):
        total_GX = grad_GX.clone()
        dist.all_reduce(total_GX)
        return _GatherAlike.backward(ctx, total_GX)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad):
        return grad
