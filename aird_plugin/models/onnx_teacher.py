"""A teacher from an ONNX graph of the InsightFace zoo, with the input normalisation of InsightFace."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.onnx_file import MISSING_EXTRA, check_external_data, normalises_inside, read_onnx
from aird_plugin.models.teacher import Teacher


class OnnxTeacher(Teacher):
    """A frozen ONNX graph, run by onnxruntime on the CPU or, where its build supports it, on CUDA.

    It also loads an exported student of a smaller input size, for evaluation only. Input size and batch come from the graph, the
    width D from a forward pass, the normalisation from the node names, as in InsightFace's ArcFaceONNX. Raises ImportError where
    the `onnx` extra is missing, and ValueError for an unreadable graph or one that is not a recogniser of square images of
    112 px or less.
    """

    kind = "onnx"
    network = "onnx graph"

    def __init__(self, path: Path, device: str | torch.device = "cpu"):
        super().__init__(path, device)
        model = read_onnx(path)
        check_external_data(path, model)
        self.session = _open_session(path, self.device)
        self.input_name, declared_batch, self.input_size = _check_graph(path, self.session)
        self.raw_input = normalises_inside(model)
        self.fixed_batch, self.dim = self._probe(declared_batch)

    def embed_inputs(self, inputs_B3HW: Tensor) -> Tensor:
        """See `Teacher.embed_inputs`."""
        inputs = inputs_B3HW.detach().float().cpu().contiguous().numpy()
        if self.raw_input:
            inputs = inputs * 127.5 + 127.5
        return torch.from_numpy(self._run(inputs)).to(inputs_B3HW.device)

    def _run(self, inputs_B3HW: np.ndarray) -> np.ndarray:
        size = self.fixed_batch or len(inputs_B3HW)
        rows = []
        for start in range(0, len(inputs_B3HW), size):
            chunk = inputs_B3HW[start : start + size]
            padding = [(0, size - len(chunk)), (0, 0), (0, 0), (0, 0)]
            output = self.session.run(None, {self.input_name: np.pad(chunk, padding)})[0]
            rows.append(output[: len(chunk)])
        return np.concatenate(rows)

    def _probe(self, declared_batch: int | None) -> tuple[int | None, int]:
        """Required batch size (None: any) and embedding width, found by a forward pass."""
        # Some exports declare a dynamic batch but contain a reshape with a constant batch of one.
        candidates = [declared_batch] if declared_batch else [None, 1]
        problem: Exception | str | None = None
        for fixed_batch in candidates:
            count = fixed_batch or 2
            inputs = np.zeros((count, 3, self.input_size, self.input_size), np.float32)
            # onnxruntime's exceptions have no common base class.
            try:
                output = self.session.run(None, {self.input_name: inputs})[0]
            except Exception as error:
                problem = error
                continue
            if output.ndim == 2 and len(output) == count and output.dtype == np.float32:
                return fixed_batch, output.shape[1]
            problem = f"{count} images give an output of {output.dtype} {output.shape}"
        raise ValueError(f"teacher {self.path}: the output is not a float32 (images, width) embedding: {problem}")


def _open_session(path: Path, device: torch.device):
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(MISSING_EXTRA) from error
    providers = ["CPUExecutionProvider"]
    if device.type == "cuda":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
        else:
            warnings.warn(
                f"teacher {path.name} runs on the CPU: this onnxruntime has no CUDA; install onnxruntime-gpu",
                stacklevel=4,
            )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # onnxruntime's exceptions have no common base class; any of them means that the file is unreadable.
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise ValueError(f"teacher {path} is not a readable ONNX graph (corrupt or truncated?): {error}") from error


def _check_graph(path: Path, session) -> tuple[str, int | None, int]:
    """Name, fixed batch (None: dynamic) and side of the single image input, checked as far as the graph declares it."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"teacher {path} has {len(inputs)} inputs and {len(outputs)} outputs; a recogniser has one of "
            "each (detectors and landmark models of the zoo are not teachers)"
        )
    shape, kind = inputs[0].shape, inputs[0].type
    square = len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] and isinstance(shape[2], int)
    if kind != "tensor(float)" or not square or shape[2] > FACE_SIDE:
        raise ValueError(
            f"teacher {path} has input {kind} of shape {shape}; "
            f"a teacher needs tensor(float) of shape [batch, 3, {FACE_SIDE}, {FACE_SIDE}]"
        )
    return inputs[0].name, shape[0] if isinstance(shape[0], int) else None, shape[2]
