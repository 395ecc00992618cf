"""The device of a process."""

import torch

from aird_plugin.utils import distributed


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name; "auto" is this rank's GPU if there is one. ValueError for CUDA where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but this torch sees no CUDA device; use device=cpu or install a CUDA build of torch")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", distributed.local_rank())
    torch.cuda.set_device(device)
    return device
