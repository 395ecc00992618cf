"""The teacher: a frozen network from a .pt or .onnx file, reached only through arrays."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aird_plugin.data.lowres import to_input
from aird_plugin.models.fold import fold_batchnorms
from aird_plugin.models.weights import detect_network, network_from, read_weights

INPUT_SIZE = 112
# Small on a CPU: activations that stay in the cache are worth a factor of two there.
CPU_BATCH, CUDA_BATCH = 16, 256


class Teacher:
    """A frozen network. No nn.Module, so no parent can train, move, average or save it.

    dim: embedding width D.  sha256: digest of the file, in hex, also `fingerprint`.  device: where it runs.
    classifier: float32 (C, D), the class centres found in the checkpoint, or None.
    Pickles as its path: the copy reopens the file and refuses another file's bytes.
    """

    kind: str
    network: str
    dim: int
    input_size = INPUT_SIZE
    input_device = torch.device("cpu")
    classifier: np.ndarray | None = None

    def __init__(self, path: Path, device: str | torch.device):
        self.path = path
        self.device = torch.device(device)
        self.sha256 = file_sha256(path)

    @property
    def fingerprint(self) -> str:
        """Same as `sha256`."""
        return self.sha256

    @property
    def batch(self) -> int:
        """Faces to embed at once."""
        return CUDA_BATCH if self.device.type == "cuda" else CPU_BATCH

    def embed(self, faces_NHWC: np.ndarray) -> np.ndarray:
        """uint8 RGB faces (N, S, S, 3), S its `input_size`, any N -> float32 embeddings (N, D), not normalised.

        Raises ValueError for faces of another shape or type.
        """
        faces_NHWC = np.asarray(faces_NHWC)
        side = self.input_size
        if faces_NHWC.dtype != np.uint8 or faces_NHWC.shape[1:] != (side, side, 3):
            raise ValueError(
                f"the teacher takes uint8 faces of shape (N, {side}, {side}, 3), "
                f"got {faces_NHWC.dtype} {faces_NHWC.shape}"
            )
        if not len(faces_NHWC):
            return np.empty((0, self.dim), np.float32)
        return self.embed_torch(torch.from_numpy(np.ascontiguousarray(faces_NHWC))).cpu().numpy()

    def embed_torch(self, faces_NHWC: Tensor) -> Tensor:
        """`embed` for a tensor on any device, N at least 1; its embeddings lie where the network takes its inputs."""
        inputs = (to_input(faces_BHWC.to(self.input_device)) for faces_BHWC in faces_NHWC.split(self.batch))
        return torch.cat([self.embed_inputs(inputs_B3HW) for inputs_B3HW in inputs])

    def embed_inputs(self, inputs_B3HW: Tensor) -> Tensor:
        """Inputs (B, 3, S, S), (x - 127.5) / 127.5, -> (B, D) on the same device, without gradient."""
        raise NotImplementedError

    def describe(self) -> dict:
        """What a manifest should say of this teacher."""
        return {
            "kind": self.kind,
            "network": self.network,
            "dim": self.dim,
            "sha256": self.sha256[:16],
            "file": self.path.name,
        }

    def __reduce__(self):
        return _reopen, (type(self), self._arguments(), self.sha256)

    def _arguments(self) -> tuple:
        """What opens the same file again."""
        return self.path, str(self.device)


class TorchTeacher(Teacher):
    """A teacher from PyTorch weights; `net` is the frozen network, for methods that look at its features."""

    kind = "pt"

    def __init__(self, path: Path, network: str | None = None, device: str | torch.device = "cpu"):
        super().__init__(path, device)
        weights = read_weights(path)
        self.network = network or detect_network(weights.state, path)
        net = network_from(weights.state, path, self.network)
        if net.input_size != INPUT_SIZE:
            raise ValueError(
                f"teacher {path} takes {net.input_size} px; a teacher sees {INPUT_SIZE} px faces"
            )
        self.input_device = self.device
        # channels_last and BatchNorms folded into convolutions make a mobile network several times faster on
        # a CPU, and change an embedding by rounding alone. `net` keeps its BatchNorms and its modules.
        self.net = net.requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        self._folded = fold_batchnorms(self.net).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            self.dim = self._folded(torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE, device=self.device)).shape[1]
        if weights.classifier_CD is not None:
            self.classifier = weights.classifier_CD.numpy()
            if self.classifier.shape[1] != self.dim:
                width = self.classifier.shape[1]
                raise ValueError(f"teacher {path}: its classifier is {width} wide, its embedding {self.dim}")

    def embed_inputs(self, inputs_B3HW: Tensor) -> Tensor:
        """See `Teacher.embed_inputs`."""
        with torch.inference_mode():
            embeddings = self._folded(inputs_B3HW.to(self.device, memory_format=torch.channels_last))
        # A clone made outside inference mode is an ordinary tensor: a loss may save it for backward.
        return embeddings.clone()

    def _arguments(self) -> tuple:
        return self.path, self.network, str(self.device)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reopen(kind: type[Teacher], arguments: tuple, sha256: str) -> Teacher:
    teacher = kind(*arguments)
    if teacher.sha256 != sha256:
        raise ValueError(f"teacher {teacher.path} has changed since this run opened it; start the run again")
    return teacher
