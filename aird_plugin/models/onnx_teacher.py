"""A teacher from an ONNX graph: InsightFace's zoo, and other recognisers with their own input."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aird_plugin.models.onnx_file import MISSING_EXTRA, check_inference, graph_sha256, read_onnx
from aird_plugin.models.onnx_input import HOW, image_input, recorded_input, resolve_input
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_input import TeacherInput


class OnnxTeacher(Teacher):
    """A frozen ONNX graph, run by onnxruntime on the CPU or, where its build supports it, on CUDA.

    It also loads an exported student of a smaller input size, for evaluation only. Input size, layout, type and batch come from
    the graph, the normalisation from models/onnx_input.py, the embedding and its width D from a forward pass; `stated` overrides
    them. Raises ImportError where the `onnx` extra is missing, and ValueError for an unreadable graph, one that is not a
    recogniser of images of 112 px or less, or one that contradicts what is stated.
    """

    kind = "onnx"
    network = "onnx graph"

    def __init__(self, path: Path, device: str | torch.device = "cpu", stated: TeacherInput | None = None):
        super().__init__(path, device)
        self.stated = stated or TeacherInput()
        model = read_onnx(path)
        check_inference(path, model)
        # Bank, galleries and thresholds know the network by its hash, so that of the external weights belongs to it.
        self.sha256 = graph_sha256(path, model)
        self.session = _open_session(path, self.device)
        graph = image_input(path, self.session, model, self.stated.over(recorded_input(path, model)))
        self.input_name, self.unused_inputs = graph.name, graph.unused
        self.file_input, self.usual_input = resolve_input(path, model, graph, self.stated)
        self.input = self.stated.over(self.file_input)
        self.input_size = max(self.input.size)
        self.output_names = [one.name for one in self.session.get_outputs()]
        self.fixed_batch, self.dims = self._probe(graph.batch)
        self._choose_output()

    @property
    def restated(self) -> dict[str, Any]:
        """What is stated about the input and differs from the file's own rules."""
        return self.input.describe(self.file_input)

    @property
    def takes_usual_input(self) -> bool:
        """Whether InsightFace feeds the file as it needs, and takes the right output."""
        own, square = self.input, (self.input_size,) * 2
        standard = (own.layout, own.dtype, own.size) == ("nchw", "float32", square) and not self.unused_inputs
        return standard and own == self.usual_input

    def embed_inputs(self, inputs_B3HW: Tensor) -> Tensor:
        """See `Teacher.embed_inputs`."""
        inputs = self.input.apply(inputs_B3HW.detach().float().cpu()).contiguous().numpy()
        return torch.from_numpy(self._run(inputs)).to(inputs_B3HW.device)

    def with_input(self, stated: TeacherInput) -> "OnnxTeacher":
        """See `Teacher.with_input`."""
        other = self._duplicate()
        other.stated = stated.over(self.stated)
        other.input = stated.over(self.input)
        other._choose_output()
        return other

    def _run(self, inputs: np.ndarray) -> np.ndarray:
        size = self.fixed_batch or len(inputs)
        rows = []
        for start in range(0, len(inputs), size):
            chunk = inputs[start : start + size]
            padding = [(0, size - len(chunk)), (0, 0), (0, 0), (0, 0)]
            [output] = self.session.run([self.input.output], {self.input_name: np.pad(chunk, padding)} | self.unused_inputs)
            rows.append(output.reshape(size, -1)[: len(chunk)].astype(np.float32, copy=False))
        return np.concatenate(rows)

    def _probe(self, declared_batch: int | None) -> tuple[int | None, dict[str, int]]:
        """Required batch size (None: any), and the width of each output that can be an embedding, found by a forward pass."""
        # Some exports declare a dynamic batch but contain a reshape with a constant batch of one.
        candidates = [declared_batch] if declared_batch else [None, 1]
        problem: Exception | str | None = None
        for fixed_batch in candidates:
            count = fixed_batch or 2
            images = self.input.apply(torch.zeros(count, 3, self.input_size, self.input_size)).contiguous().numpy()
            inputs = {self.input_name: images} | self.unused_inputs
            # onnxruntime's exceptions have no common base class.
            try:
                outputs = dict(zip(self.output_names, self.session.run(None, inputs), strict=True))
            except Exception as error:
                problem = error
                continue
            dims = {name: _width(output, count) for name, output in outputs.items()}
            if any(dims.values()):
                return fixed_batch, {name: dim for name, dim in dims.items() if dim}
            shapes = ", ".join(f"{output.dtype} {output.shape}" for output in outputs.values())
            problem = f"{count} images give an output of {shapes}"
        raise ValueError(f"{self.path}: no output is a float (images, width) embedding: {problem}")

    def _choose_output(self) -> None:
        """Set the output and its width: the stated one, else the only (B, D) one with D above 1."""
        wanted, names = self.input.output, list(self.dims)
        if isinstance(wanted, int):
            wanted = self.output_names[wanted] if -len(self.output_names) <= wanted < len(self.output_names) else wanted
        if wanted is None and len(names) == 1:
            [wanted] = names
        if wanted not in names:
            listed = ", ".join(f"{name!r} (width {dim})" for name, dim in self.dims.items())
            what = f"output {wanted!r} is none of them" if wanted is not None else "name one, for example output=" + names[0]
            raise ValueError(f"{self.path} has {len(names)} outputs that can be the embedding: {listed}; {what} ({HOW})")
        self.input = TeacherInput(output=wanted).over(self.input)
        self.usual_input = TeacherInput(output=self.output_names[0]).over(self.usual_input)
        if len(names) == 1:
            self.file_input = self.file_input.over(TeacherInput(output=names[0]))
        self.dim = self.dims[wanted]

    def _arguments(self) -> tuple:
        return self.path, str(self.device), self.stated


def _width(output: np.ndarray, count: int) -> int | None:
    """Width of an output (B, D), or (B, D, 1, 1), with D above 1; None for any other."""
    if output.ndim < 2 or len(output) != count or not np.issubdtype(output.dtype, np.floating):
        return None
    width = int(np.prod(output.shape[1:]))
    return width if width > 1 and max(output.shape[1:]) == width else None


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
                f"{path.name} runs on the CPU: this onnxruntime has no CUDA; install onnxruntime-gpu",
                stacklevel=4,
            )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # onnxruntime's exceptions have no common base class; any of them means that the file is unreadable.
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise ValueError(f"{path} is not a readable ONNX graph (corrupt or truncated?): {error}") from error
