"""Which ranks are gone or hang, asked when talking to them has failed.

A collective that fails says neither: gloo that a connection closed or that time ran out, NCCL that some operation did. So every
rank that meets the failure puts its name on a list in the store that torchrun keeps, waits a moment for the others to do the
same, and tells who is missing from it.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

from aird_plugin import distributed
from aird_plugin.errors import RankLost

# For ranks to meet the same failure. torchrun ends those that are left half a minute after one has died.
GRACE_S = 10.0
TALKING = ("gloo", "NCCL", "ProcessGroup")


@contextmanager
def joined(device, timeout_s: float) -> Iterator[None]:
    """Inside, this rank belongs to the group that torchrun describes; without torchrun there is none.

    timeout_s: how long a collective waits for a rank. Raises RankLost naming the ranks that did not answer, where one fails.
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
    """Whether a collective failed, and not this rank's own work."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in TALKING)


def missing(rank: int, ranks: int) -> list[int] | None:
    """Ranks that have not met the failure within the grace; None where the list cannot be reached (its keeper is gone)."""
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
    """What the user reads."""
    who = "a rank that keeps the list of all (usually rank 0)" if lost is None else ", ".join(f"rank {rank}" for rank in lost)
    happened = f"{who} does not answer: gone, or hanging for {timeout_s:g} s (rank_timeout)" if who else "the ranks lost touch"
    return f"{happened}; the same command goes on from the newest checkpoint"
