"""The device of a process, and the precision of its networks."""

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


def autocast_dtype(device_type: str, bf16: bool, fp16: bool) -> torch.dtype | None:
    """The dtype of autocast for the recipe keys bf16 and fp16 on "cuda" or "cpu"; None where the networks stay in float32.

    A CPU has no fp16, and bf16 only where oneDNN has kernels for it (AVX-512): elsewhere PyTorch falls back to convolutions that
    take 6 to 9 times as long as in float32 (docs/benchmarks/speed.md).
    """
    if bf16 and (device_type == "cuda" or cpu_has_bf16()):
        return torch.bfloat16
    return torch.float16 if fp16 and device_type == "cuda" else None


def cpu_has_bf16() -> bool:
    """Whether this CPU has bf16 convolutions; ONEDNN_MAX_CPU_ISA can take them away."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
