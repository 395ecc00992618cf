"""The teacher: a frozen network that maps arrays to arrays and has no trainable state. Base class of those from .pt and .onnx."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import to_input
from aird_plugin.models.teacher_input import USUAL, TeacherInput
from aird_plugin.utils.files import file_sha256

# The CPU batch is small: activations that fit in the cache make it twice as fast.
CPU_BATCH, CUDA_BATCH = 16, 256


class Teacher:
    """A frozen network. It is not an nn.Module, so a parent module cannot train, move, average or save it.

    dim: embedding width D.  sha256: digest of the file, in hex.  device: where it runs.
    classifier: float32 (C, D), the class centers in the checkpoint, or None.
    It pickles as its path: unpickling reopens the file and raises ValueError where the file has changed.
    """

    kind: str
    net: nn.Module  # of kind "pt" alone
    network: str
    dim: int
    input_size = FACE_SIDE
    input_device = torch.device("cpu")
    classifier: np.ndarray | None = None
    # How the network is fed, and how it would be by InsightFace's rule alone.
    input: TeacherInput = USUAL
    usual_input: TeacherInput = USUAL

    def __init__(self, path: Path, device: str | torch.device):
        self.path = path
        self.device = torch.device(device)
        self.sha256 = file_sha256(path)

    @property
    def batch(self) -> int:
        """Images per forward pass."""
        return CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH

    @property
    def on_hr(self) -> "Teacher":
        """The teacher that embeds the HR side of LR-HR pairs: this one, but for one with a `teacher_px`."""
        return self

    def embed(self, images_NHWC: np.ndarray) -> np.ndarray:
        """uint8 RGB images (N, S, S, 3), S its `input_size`, any N -> float32 embeddings (N, D), not normalised.

        Raises ValueError for another shape or dtype.
        """
        images_NHWC = np.asarray(images_NHWC)
        side = self.input_size
        if images_NHWC.dtype != np.uint8 or images_NHWC.shape[1:] != (side, side, 3):
            raise ValueError(
                f"the teacher takes uint8 images of shape (N, {side}, {side}, 3), got {images_NHWC.dtype} {images_NHWC.shape}"
            )
        if not len(images_NHWC):
            return np.empty((0, self.dim), np.float32)
        return self.embed_torch(torch.from_numpy(np.ascontiguousarray(images_NHWC))).cpu().numpy()

    def embed_torch(self, images_NHWC: Tensor) -> Tensor:
        """`embed` for a tensor on any device, N at least 1; returns embeddings on the device of the network's inputs."""
        inputs = (to_input(images_BHWC.to(self.input_device)) for images_BHWC in images_NHWC.split(self.batch))
        return torch.cat([self.embed_inputs(inputs_B3HW) for inputs_B3HW in inputs])

    def embed_inputs(self, inputs_B3HW: Tensor) -> Tensor:
        """Inputs (B, 3, S, S), (x - 127.5) / 127.5, -> (B, D) on the same device, without gradient."""
        raise NotImplementedError

    def describe(self) -> dict:
        """The entries that describe this teacher in a manifest; `input` only where it is not the usual one."""
        unusual = self.input.describe(self.usual_input)
        return {
            "kind": self.kind,
            "network": self.network,
            "dim": self.dim,
            "sha256": self.sha256[:16],
            "file": self.path.name,
        } | ({"input": unusual} if unusual else {})

    def with_input(self, stated: TeacherInput) -> "Teacher":
        """The same network, opened once, fed in another way: `stated` over the present input."""
        raise NotImplementedError

    def _duplicate(self) -> Any:
        """A second object of the same network. copy.copy would open the file again, as unpickling does."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __reduce__(self):
        return _reopen, (type(self), self._arguments(), self.sha256)

    def _arguments(self) -> tuple:
        """Constructor arguments that open the same file."""
        return self.path, str(self.device)


def _reopen(kind: type[Teacher], arguments: tuple, sha256: str) -> Teacher:
    teacher = kind(*arguments)
    if teacher.sha256 != sha256:
        raise ValueError(f"teacher {teacher.path} has changed since this run opened it; start the run again")
    return teacher
