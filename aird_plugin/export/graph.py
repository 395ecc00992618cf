"""A student -> one ONNX file: one input, one output, dynamic batch size, no external data.

B = images, S = side of the file's input, P = px of a native student, D = embedding width.
"""

import copy
import io
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import RESIZE, fixed_point_weights
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.recorded import METADATA
from aird_plugin.utils.files import write_atomically

# Supported since onnxruntime 1.12; these graphs need no later operators.
OPSET = 17
INPUT, OUTPUT = "data", "embedding"


class WithDownsampling(nn.Module):
    """A native student with 112 px input: the reference resize in the graph, then the student.

    The input is InsightFace's, (x - 127.5) / 127.5. Grey levels are recovered, downsampled in float64 with the fixed-point
    weights of the reference resize and rounded after each pass, so the student's input equals its training input to the bit.
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
    """Round half up to uint8's range, in operations that every runtime of ONNX has."""
    return torch.floor(grey_levels + 0.5).clamp(0.0, 255.0)


def write_student(student: nn.Module, path: Path, metadata: dict) -> None:
    """Write a student with 112 px input. One that came from an .onnx file goes back into that file's graph."""
    if isinstance(student, OnnxNetwork):
        student.to_onnx(path, {METADATA: json.dumps({"input_size": student.input_size, "resize": RESIZE} | metadata)})
    else:
        write_onnx(for_112_px(student), path, metadata)


def for_112_px(student: nn.Module) -> nn.Module:
    """A copy of the student with 112 px input, in eval mode."""
    student = copy.deepcopy(student).eval()
    return student if student.input_size == FACE_SIDE else WithDownsampling(student).eval()


def write_onnx(network: nn.Module, path: Path, metadata: dict) -> None:
    """Write the network, in eval mode, on the CPU. `metadata` is stored in the file's metadata as JSON.

    Raises ImportError where the `onnx` extra is missing. The file is written atomically.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError("writing an .onnx file needs `pip install aird_plugin[onnx]`") from error
    network = copy.deepcopy(network).eval().cpu().to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, 3, network.input_size, network.input_size)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The TorchScript exporter is deprecated; its successor writes two files and needs onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            file,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=False,
            dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
        )
    model = onnx.load_from_string(file.getvalue())
    properties = {"input_size": network.input_size, "resize": RESIZE} | metadata
    onnx.helper.set_model_props(model, {METADATA: json.dumps(properties)})
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())
