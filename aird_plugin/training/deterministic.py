"""The recipe key `deterministic`: the same run reproduces the same bits on the same machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """If `wanted`, restrict PyTorch to deterministic algorithms inside the block, and restore its settings afterwards.

    An operation without a deterministic algorithm raises RuntimeError naming it. cuDNN neither benchmarks kernels, which could
    select another one next time, nor uses those with an arbitrary order of additions. cuBLAS gets a workspace of fixed size,
    which it reads when its first handle is created: enter before the GPU computes. On a CPU equal thread counts suffice for equal
    bits.
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
    """Set cuDNN's deterministic flags again after code that changed them; `deterministic` restores the old ones."""
    if wanted:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
