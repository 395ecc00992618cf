"""A student -> one ONNX file: one input, one output, dynamic batch size, no external data.

B = images, S = side of the file's input, P = px of a native student, D = embedding width.
"""

import copy
import io
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.lowres import RESIZE, WEIGHT_BITS, fixed_point_weights
from aird_plugin.models.onnx_file import METADATA
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.utils.files import write_atomically

# Supported since onnxruntime 1.12; these graphs need no later operators.
OPSET = 17
INPUT, OUTPUT = "data", "embedding"
# The exporter puts the names of modules into those of nodes.
RESIZE_MODULE = "reference_resize"


class Downsampling(nn.Module):
    """The reference resize of whole grey levels, columns first, to the bit, in float32: OpenCV's dnn and TensorRT have no double.

    Pillow's weights are multiples of 2**-22, so that a sum over grey levels takes 30 bits, and float32 has 24. Each weight is
    split into a coarse part, a multiple of u = 2**-11 (2**-12 for very small sides), and a fine part of at most u / 2. The sum of
    either part is a whole number of its unit below 2**24, and so is every partial sum: float32 is exact in any order, with or
    without fused multiply-add. Of the fine sum only its floor in units of u counts: the rest, below u, cannot lift a multiple of
    u over the next whole number.
    """

    def __init__(self, side: int):
        super().__init__()
        coarse_PS, fine_PS, self.unit = split_weights(fixed_point_weights(FACE_SIDE, side))
        self.register_buffer("coarse_SP", torch.from_numpy(coarse_PS.T).float().contiguous())
        self.register_buffer("fine_SP", torch.from_numpy(fine_PS.T).float().contiguous())

    def forward(self, grey_B3SS: Tensor) -> Tensor:
        rows_B3PS = self._columns(grey_B3SS).transpose(2, 3)
        return self._columns(rows_B3PS).transpose(2, 3)

    def _columns(self, grey_B3SS: Tensor) -> Tensor:
        """Resize the last axis, and round."""
        fine_B3SP = torch.floor(torch.matmul(grey_B3SS, self.fine_SP) * (1 / self.unit)) * self.unit
        return _round(torch.matmul(grey_B3SS, self.coarse_SP) + fine_B3SP)


def split_weights(weights_PS: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Pillow's weights as coarse + fine part, whose sums over grey levels float32 holds, and the unit of the coarse one."""
    for bits in (11, 12):
        unit = 2.0**-bits
        coarse_PS = np.round(weights_PS / unit) * unit
        fine_PS = weights_PS - coarse_PS
        steps = [np.abs(part).sum(1).max() * 255 * 2.0**b for part, b in ((coarse_PS, bits), (fine_PS, WEIGHT_BITS))]
        if max(steps) < 2**24:
            return coarse_PS, fine_PS, unit
    raise AssertionError(f"no split of the weights {weights_PS.shape} fits float32")


class WithDownsampling(nn.Module):
    """A native student with 112 px input: the reference resize in the graph, then the student.

    The input is InsightFace's, (x - 127.5) / 127.5. Grey levels are recovered and downsampled, so the student's input equals its
    training input to the bit.
    """

    input_size = FACE_SIDE

    def __init__(self, student: nn.Module):
        super().__init__()
        self.student = student
        self.add_module(RESIZE_MODULE, Downsampling(student.input_size))

    def forward(self, x_B3SS: Tensor) -> Tensor:
        low_B3PP = self.get_submodule(RESIZE_MODULE)(_round(x_B3SS * 127.5 + 127.5))
        return self.student((low_B3PP - 127.5) / 127.5)


def _round(grey_levels: Tensor) -> Tensor:
    """Round half up to uint8's range, in operations that every runtime of ONNX has."""
    return torch.floor(grey_levels + 0.5).clamp(0.0, 255.0)


def write_student(student: nn.Module, path: Path, metadata: dict) -> None:
    """Write a student with 112 px input. One that came from an .onnx file goes back into that file's graph."""
    if isinstance(student, OnnxNetwork):
        own = {"input_size": student.input_size, "resize": RESIZE, "input": student.describe_input()}
        student.to_onnx(path, {METADATA: json.dumps(own | metadata)})
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
