"""Find the ranks that died or hang, after a collective has failed.

The error of a failed collective names no rank: gloo reports a closed connection or a timeout, NCCL a failed operation. So every
rank that gets the error writes a key into the store of torchrun, waits for the others to do the same, and reports the ranks
whose keys are missing.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from aird_plugin.utils import distributed
from aird_plugin.utils.errors import RankLost

# For all ranks to get the same error. torchrun ends the remaining ones half a minute after one has died.
GRACE_S = 10.0
BACKENDS = ("gloo", "NCCL", "ProcessGroup")


@contextmanager
def process_group(device: torch.device, timeout_s: float) -> Iterator[None]:
    """Inside, this rank belongs to the group that torchrun describes; without torchrun there is none.

    timeout_s: how long a collective waits for a rank. Raises RankLost naming the ranks that do not respond, where one fails.
    """
    distributed.start(device, timedelta(seconds=timeout_s))
    try:
        yield
    except RuntimeError as error:
        if distributed.world_size() == 1 or not of_talking(error):
            raise
        raise RankLost(account(missing(distributed.rank(), distributed.world_size()), timeout_s)) from error
    finally:
        distributed.stop()


def of_talking(error: RuntimeError) -> bool:
    """Whether the error comes from a collective and not from this rank's own work."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in BACKENDS)


def missing(rank: int, ranks: int) -> list[int] | None:
    """Ranks that did not reach the failure within the grace period; None if the store is unreachable (its rank died)."""
    until = time.monotonic() + GRACE_S
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = dist.TCPStore(
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=GRACE_S)
        )
        keys = {other: f"aird/answers/{start}/{other}" for other in range(ranks)}
        store.set(keys[rank], "here")
        while lost := [other for other, key in keys.items() if not store.check([key])]:
            if time.monotonic() > until:
                return lost
            time.sleep(0.1)
        return []
    except (KeyError, RuntimeError):
        return None


def account(lost: list[int] | None, timeout_s: float) -> str:
    """The message for the user."""
    ranks = "the rank that hosts the store (usually rank 0)" if lost is None else ", ".join(f"rank {rank}" for rank in lost)
    happened = (
        f"{ranks} does not respond: gone, or hanging for {timeout_s:g} s (rank_timeout)" if ranks else "a collective failed"
    )
    return f"{happened}; the same command resumes from the newest checkpoint"
