"""How long OpenMP's threads spin, which has to be said before torch loads OpenMP."""

import os

# Whoever sets one of these has decided how threads wait.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
SPINS = "10000"


def bound_spinning() -> None:
    """Let a waiting OpenMP thread spin 10,000 turns, then sleep; for this process, if torch is not loaded yet, and its children.

    By default libgomp spins 300,000 turns. On an idle machine that costs nothing; beside other work the waiting threads hold the
    cores that the thread they wait for needs, and a training step slows down by a factor of thirty (docs/benchmarks.md, "A busy
    machine"). Every entry point calls this first. Where the user has set a variable of `WAITING`, it changes nothing.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS
