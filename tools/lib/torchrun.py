"""Several ranks of a script on this machine, for the benchmarks."""

import sys


def torchrun_command(script: str, ranks: int) -> list[str]:
    """The command that runs `script` in `ranks` processes; the script's own arguments follow it."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", script]
