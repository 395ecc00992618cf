"""A teacher from PyTorch weights."""

from pathlib import Path

import torch
from torch import Tensor

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.fold import fold_batchnorms
from aird_plugin.models.from_weights import detect_network, network_from
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_input import USUAL, TeacherInput
from aird_plugin.models.weights import read_weights


class TorchTeacher(Teacher):
    """A teacher from PyTorch weights; `net` is the frozen network, for methods that use its feature maps."""

    kind = "pt"

    def __init__(
        self,
        path: Path,
        network: str | None = None,
        device: str | torch.device = "cpu",
        stated: TeacherInput | None = None,
    ):
        super().__init__(path, device)
        self.stated = stated or TeacherInput()
        check_stated(self.stated, f"teacher {path}")
        self.input = self.stated.over(USUAL)
        weights = read_weights(path)
        self.network = network or detect_network(weights.state, path)
        net = network_from(weights.state, path, self.network)
        if net.input_size != FACE_SIDE:
            raise ValueError(f"teacher {path} takes {net.input_size} px images; a teacher needs {FACE_SIDE} px")
        self.input_device = self.device
        # channels_last and folded BatchNorms make a mobile network several times faster on a CPU and change embeddings
        # only by rounding. `net` keeps its BatchNorms and its modules.
        self.net = net.requires_grad_(False).to(self.device, memory_format=torch.channels_last)
        # The graph of an .onnx file is generated code, which `fold_batchnorms` cannot trace; its exporter folded what it could.
        folded = self.net if isinstance(self.net, OnnxNetwork) else fold_batchnorms(self.net)
        self._folded = folded.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            self.dim = self._folded(torch.zeros(1, 3, FACE_SIDE, FACE_SIDE, device=self.device)).shape[1]
        if weights.classifier_CD is not None:
            self.classifier = weights.classifier_CD.numpy()
            if self.classifier.shape[1] != self.dim:
                width = self.classifier.shape[1]
                raise ValueError(f"teacher {path}: classifier width {width} and embedding width {self.dim} must be equal")

    def embed_inputs(self, inputs_B3HW: Tensor) -> Tensor:
        """See `Teacher.embed_inputs`."""
        with torch.inference_mode():
            inputs = self.input.apply(inputs_B3HW.to(self.device))
            embeddings = self._folded(inputs.to(memory_format=torch.channels_last))
        # A clone outside inference mode is an ordinary tensor, which a loss may save for backward.
        return embeddings.clone()

    def with_input(self, stated: TeacherInput) -> "TorchTeacher":
        """See `Teacher.with_input`."""
        other = self._duplicate()
        other.stated, other.input = stated.over(self.stated), stated.over(self.input)
        return other

    def _arguments(self) -> tuple:
        return self.path, self.network, str(self.device), self.stated


def check_stated(stated: TeacherInput, what: str) -> None:
    """Raise ValueError where more is stated than how a .pt may be fed. what: the model, for the message."""
    if other := stated.describe().keys() - {"color", "mean", "std"}:
        raise ValueError(
            f"{what} is a .pt, of which only color, mean and std can be stated; leave out {', '.join(sorted(other))}"
        )
