"""A student -> one ONNX file: one input, one output, a batch of any size, nothing beside the file.

B = faces, S = side of the file's input, P = px of a native student, D = embedding width.
"""

import copy
import io
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from aird_plugin.data.lowres import FACE_SIDE, RESIZE, fixed_point_weights
from aird_plugin.files import write_atomically

# onnxruntime reads it since 1.12; what came later these graphs do not need.
OPSET = 17
INPUT, OUTPUT = "data", "embedding"
METADATA = "aird_plugin"


class Shrinking(nn.Module):
    """A native student that takes the 112 px face: the one resize stands in the graph, then the student.

    The input is what InsightFace feeds, (x - 127.5) / 127.5. Grey levels are recovered, shrunk in float64 by the one resize's own
    fixed-point weights and rounded after each pass, so that the student sees the very bytes that it was trained on.
    """

    input_size = FACE_SIDE

    def __init__(self, student: nn.Module):
        super().__init__()
        self.student = student
        weights_PS = torch.from_numpy(fixed_point_weights(FACE_SIDE, student.input_size))
        self.register_buffer("weights_PS", weights_PS)

    def forward(self, x_B3SS: Tensor) -> Tensor:
        grey_B3SS = _round((x_B3SS * 127.5 + 127.5).double())
        columns_B3SP = _round(torch.matmul(grey_B3SS, self.weights_PS.t()))
        low_B3PP = _round(torch.matmul(self.weights_PS, columns_B3SP))
        return self.student((low_B3PP.float() - 127.5) / 127.5)


def _round(grey_levels: Tensor) -> Tensor:
    return torch.floor(grey_levels + 0.5).clamp(0.0, 255.0)


def for_112_px(student: nn.Module) -> nn.Module:
    """The student as it takes 112 px faces, in eval mode; its own copy."""
    student = copy.deepcopy(student).eval()
    return student if student.input_size == FACE_SIDE else Shrinking(student).eval()


def write_onnx(network: nn.Module, path: Path, facts: dict) -> None:
    """Write the network, in eval mode, on the CPU. `facts` goes into the file's metadata as JSON.

    Raises ImportError where the `onnx` extra is missing. The file appears under its name only when it is whole.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("writing an .onnx file needs `pip install aird_plugin[onnx]`") from error
    network = copy.deepcopy(network).eval().cpu().to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, 3, network.input_size, network.input_size)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is called deprecated; the other one writes two files, and wants onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), file, input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, dynamo=False,
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
        )  # fmt: skip
    model = onnx.load_from_string(file.getvalue())
    told = {"input_size": network.input_size, "resize": RESIZE} | facts
    onnx.helper.set_model_props(model, {METADATA: json.dumps(told)})
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())
