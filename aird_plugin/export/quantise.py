"""int8 export by static quantisation: weights per channel, activations calibrated on real images, accuracy compared with fp32."""

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from aird_plugin.data.lowres import to_input
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.significance import ALPHA, mcnemar
from aird_plugin.evaluation.verification import fold_decisions
from aird_plugin.export.graph import RESIZE_MODULE
from aird_plugin.models.onnx_file import nodes_of, read_onnx
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.utils.files import write_atomically

# Largest allowed loss of accuracy in percentage points.
MAX_LOSS = 0.3
CALIBRATION_BATCH = 32
# Percentile of the activations inside the calibrated range: outliers beyond one in a hundred thousand are clipped.
PERCENTILE = 99.999
# Residual sums stay in float: quantising them costs accuracy and saves no time.
QUANTISED = ("Conv", "Gemm", "MatMul")


class Int8Rejected(ValueError):
    """An int8 file that loses too much accuracy."""


@dataclass(frozen=True)
class Quantised:
    """An int8 file and its verification accuracy in per cent, beside that of fp32, on `pairs` at `px`, LR-LR.

    note: that a loss above `MAX_LOSS` is not significant on these pairs; empty for a smaller loss.
    """

    file: str
    side: int
    px: int
    pairs: str
    accuracy: float
    accuracy_fp32: float
    note: str = ""


def quantise(source: OnnxTeacher, target: Path, images_NSSC: np.ndarray) -> None:
    """Write the int8 version of a file, calibrated on uint8 images of the file's side.

    A resize in the graph stays exact: its products are left out (tested).
    Raises ImportError where the `onnx` extra is missing, ValueError for fewer images than one calibration batch.
    """
    if len(images_NSSC) < CALIBRATION_BATCH:
        raise ValueError(
            f"int8 calibration needs {CALIBRATION_BATCH} images or more, got {len(images_NSSC)}; name more with --faces"
        )
    try:
        from onnxruntime import quantization as q
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError("int8 needs `pip install aird_plugin[onnx]`") from error
    with tempfile.TemporaryDirectory() as scratch:
        inferred = Path(scratch) / "inferred.onnx"
        quant_pre_process(source.path, inferred, skip_symbolic_shape=True)
        # onnxruntime prints every calibration step.
        with contextlib.redirect_stdout(io.StringIO()):
            q.quantize_static(
                inferred,
                target,
                calibration_reader(source, images_NSSC),
                quant_format=q.QuantFormat.QDQ,
                per_channel=True,
                activation_type=q.QuantType.QUInt8,
                weight_type=q.QuantType.QInt8,
                op_types_to_quantize=list(QUANTISED),
                nodes_to_exclude=resize_products(inferred),
                calibrate_method=q.CalibrationMethod.Percentile,
                # Weights of 7 bits: on x86 processors without VNNI two products of 8 bits overflow the kernels' 16-bit sums.
                reduce_range=True,
                extra_options={"CalibPercentile": PERCENTILE},
            )
    drop_unused_domains(target)


def resize_products(path: Path) -> list[str]:
    """Names of the products of a reference resize in the graph."""
    nodes = read_onnx(path).graph.node
    return [node.name for node in nodes if node.op_type == "MatMul" and node.name.startswith(f"/{RESIZE_MODULE}/")]


def drop_unused_domains(path: Path) -> None:
    """Rewrite a file without the operator sets that no node uses.

    onnxruntime's quantiser imports the newest `ai.onnx.ml` for nothing, and an older onnxruntime refuses a set that it does not
    know: with it, 1.16 and 1.17 do not load the file.
    """
    model = read_onnx(path)
    used = {"", *(node.domain for node in nodes_of(model.graph))} | {function.domain for function in model.functions}
    used |= {node.domain for function in model.functions for node in function.node}
    kept = [entry for entry in model.opset_import if entry.domain in used or entry.domain == "ai.onnx"]
    if len(kept) < len(model.opset_import):
        del model.opset_import[:]
        model.opset_import.extend(kept)
        write_atomically(path, model.SerializeToString())


def calibration_reader(network: OnnxTeacher, images_NSSC: np.ndarray):
    """onnxruntime's CalibrationDataReader over the images, as the file is fed."""
    from onnxruntime.quantization import CalibrationDataReader

    size = network.fixed_batch or CALIBRATION_BATCH

    class ImageReader(CalibrationDataReader):
        """Returns {input: batch} for each full batch, then None."""

        def __init__(self):
            self.starts = iter(range(0, len(images_NSSC) - size + 1, size))

        def get_next(self):
            start = next(self.starts, None)
            if start is None:
                return None
            batch = torch.from_numpy(images_NSSC[start : start + size])
            return {network.input_name: network.input.apply(to_input(batch)).contiguous().numpy()}

    return ImageReader()


def compare_accuracy(source: OnnxTeacher, target: Path, root: Path, pairs: str, px: int) -> Quantised:
    """Evaluate both files on verification pairs, LR-LR at px.

    Raises Int8Rejected where int8 loses more than `MAX_LOSS` points and the loss is significant: one of 200 pairs is 0.5 points.
    """
    fp32_evaluator = PairEvaluator(source, pairs)
    int8_evaluator = fp32_evaluator.with_student(OnnxTeacher(target, "cpu", source.input))
    fp32, int8 = (one.evaluate(px, "lr-lr")["accuracy"] for one in (fp32_evaluator, int8_evaluator))
    same_N = fp32_evaluator.same_N
    right_N, int8_right_N = (fold_decisions(one.embeddings(px, "lr-lr"), same_N) for one in (fp32_evaluator, int8_evaluator))
    p = mcnemar(int((right_N & ~int8_right_N).sum()), int((int8_right_N & ~right_N).sum()))
    note, loss = "", f"loses {fp32 - int8:.2f} points on {len(same_N):,} pairs of {pairs} ({fp32:.2f} to {int8:.2f})"
    if int8 < fp32 - MAX_LOSS and p < ALPHA:
        raise Int8Rejected(
            f"{target.name} {loss}; allowed are {MAX_LOSS}: the file was left out; calibrate on more "
            "images (--count), or drop --int8"
        )
    if int8 < fp32 - MAX_LOSS:
        note = f"{loss}, which is not significant (p {p:.2g}); one pair is {100 / len(same_N):.2g} points: give a larger file"
    return Quantised(str(target.relative_to(root)), source.input_size, px, Path(pairs).name, int8, fp32, note)
