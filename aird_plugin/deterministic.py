"""The recipe's `deterministic`: the same run gives the same bits again, on the same machine."""

import os
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(wanted: bool):
    """Inside, with `wanted`, PyTorch takes no algorithm whose result may differ from call to call; afterwards all is as before.

    What has no other algorithm raises RuntimeError, naming itself. cuDNN neither tries which kernel is fastest, which may be
    another one the next time, nor takes those that add in any order; cuBLAS gets a workspace of fixed size, which it reads when
    its first handle is made, so enter this before the GPU computes. On a CPU the same threads give the same bits without it.
    """
    if not wanted:
        yield
        return
    cudnn, environment = torch.backends.cudnn, os.environ.get(WORKSPACE)
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    kernels = cudnn.deterministic, cudnn.benchmark
    try:
        os.environ.setdefault(WORKSPACE, ":4096:8")
        torch.use_deterministic_algorithms(True)
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = kernels
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        if environment is None:
            os.environ.pop(WORKSPACE, None)


def pin_kernels(wanted: bool) -> None:
    """Take cuDNN's flags back from code that set its own, inside `deterministic`, which puts the old ones back."""
    if wanted:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
