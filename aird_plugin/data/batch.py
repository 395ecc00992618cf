"""The images of one step, with what the teacher made of them.

B = images on this rank, K = negatives, D = embedding width.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch


@dataclass
class Batch:
    """The images of one step on this rank. Teacher tensors are None unless requested; feature maps stay on their own device.

    also_PBSSC: the same images in the same views at further sizes, one tensor per size. px_B: see `data/multi_size.py`.
    The bank's float16 stays float16 until `build_loss_inputs`, which halves the bytes to copy. images_BHWC is None where the
    device downsamples hr_BHWC (`TrainingSetup.to_device`). resize: what the device then does with images_BHWC, or None.
    """

    images_BHWC: torch.Tensor | None
    label_B: torch.Tensor
    row_B: torch.Tensor | None = None
    teacher_BD: torch.Tensor | None = None
    hr_BHWC: torch.Tensor | None = None
    anchor_BD: torch.Tensor | None = None
    has_anchor_B: torch.Tensor | None = None
    negative_BKD: torch.Tensor | None = None
    negative_exists_BK: torch.Tensor | None = None
    teacher_maps: tuple[torch.Tensor, ...] = ()
    also_PBSSC: tuple[torch.Tensor, ...] = ()
    px_B: torch.Tensor | None = None
    generative_BCHW: torch.Tensor | None = None
    resize: Callable[[torch.Tensor], torch.Tensor] | None = None

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Return the same batch in pinned memory, so that copies to a GPU overlap its work (the loader calls this)."""
        return self._map(torch.Tensor.pin_memory)

    def _map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        tuples = {"also_PBSSC": tuple(change(tensor) for tensor in tensors.pop("also_PBSSC"))}
        singles = {name: change(tensor) for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}
        return replace(self, **tuples, **singles)
