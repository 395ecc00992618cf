"""The cores that this process may use, and a limit on the spinning of OpenMP threads before torch loads OpenMP."""

import os

# A user who sets one of these has chosen how threads wait.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
SPINS = "10000"


def bound_spinning() -> None:
    """Let waiting OpenMP threads spin 10,000 iterations, then sleep; in this process, if torch is not loaded, and its children.

    By default libgomp spins 300,000 iterations. On an idle machine that costs nothing; beside other work the waiting threads
    occupy the cores that the working thread needs, and on some machines a training step slows down by a factor of thirty
    (docs/benchmarks/hosts.md, "A busy machine"). Every entry point calls this first. Where the user has set a variable of
    `WAITING`, it changes nothing.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def usable_cores() -> int:
    """The cores that this process may use: fewer than the machine's under `taskset` or in a container with a set of its own."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
