"""Numerical precision of the losses."""

import torch


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Cast float16 and bfloat16 to float32; return any other dtype unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
