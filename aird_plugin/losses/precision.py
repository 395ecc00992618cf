"""In which precision a loss is computed."""

import torch


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """float16 and bfloat16 as float32, anything else as it is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
