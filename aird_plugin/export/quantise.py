"""int8 by static quantisation: weights a channel at a time, activations calibrated on real faces, compared before it is kept."""

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from aird_plugin.data.lowres import to_input
from aird_plugin.evaluation.protocol import Session
from aird_plugin.export.graph import INPUT
from aird_plugin.models.onnx_teacher import OnnxTeacher

# Points of accuracy that an int8 file may lose on the pairs it is tried on.
MOST_LOST = 0.3
CALIBRATION_BATCH = 32
# The share of activations inside the calibrated range; one stray value in a hundred thousand does not stretch it.
PERCENTILE = 99.999
# Residual sums stay in float: quantised, they cost accuracy and save no time.
QUANTISED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Quantised:
    """An int8 file and what it costs: per cent correct before and after, on `pairs` at `px`, LR-LR."""

    file: str
    side: int
    px: int
    pairs: str
    accuracy: float
    accuracy_fp32: float


def quantise(source: Path, target: Path, faces_NSSC: np.ndarray) -> None:
    """Write the int8 twin of a file. faces: uint8 of the file's side, for calibration. Shrinking in the graph stays exact:
    it is computed in float64, which onnxruntime does not quantise (a test looks).

    Raises ImportError where the `onnx` extra is missing, ValueError for fewer faces than one batch of the calibration.
    """
    if len(faces_NSSC) < CALIBRATION_BATCH:
        raise ValueError(f"int8 is calibrated on {CALIBRATION_BATCH} faces or more, got {len(faces_NSSC)}; --faces names more")
    try:
        from onnxruntime import quantization as q
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError("int8 needs `pip install aird_plugin[onnx]`") from error
    with tempfile.TemporaryDirectory() as scratch:
        inferred = Path(scratch) / "inferred.onnx"
        quant_pre_process(source, inferred, skip_symbolic_shape=True)
        # onnxruntime prints what it does, histogram by histogram.
        with contextlib.redirect_stdout(io.StringIO()):
            q.quantize_static(
                inferred, target, calibration(faces_NSSC), quant_format=q.QuantFormat.QDQ, per_channel=True,
                activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8, op_types_to_quantize=list(QUANTISED),
                calibrate_method=q.CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": PERCENTILE},
            )  # fmt: skip


def calibration(faces_NSSC: np.ndarray):
    """The faces as onnxruntime's calibration asks for them, batch by batch."""
    from onnxruntime.quantization import CalibrationDataReader

    class Faces(CalibrationDataReader):
        """Gives {input: batch} until the faces are through, then None."""

        def __init__(self):
            self.starts = iter(range(0, len(faces_NSSC) - CALIBRATION_BATCH + 1, CALIBRATION_BATCH))

        def get_next(self):
            start = next(self.starts, None)
            if start is None:
                return None
            batch = torch.from_numpy(faces_NSSC[start : start + CALIBRATION_BATCH])
            return {INPUT: to_input(batch).contiguous().numpy()}

    return Faces()


def compare_accuracy(source: Path, target: Path, root: Path, pairs: str, px: int) -> Quantised:
    """Both files on a list of pairs, LR-LR at px. ValueError where int8 loses more than `MOST_LOST` points."""
    before = Session(OnnxTeacher(source), pairs)
    side = before.networks["student"].input_size
    rows = [session.evaluate(px, "lr-lr") for session in (before, before.with_student(OnnxTeacher(target)))]
    fp32, int8 = (row["accuracy"] for row in rows)
    if int8 < fp32 - MOST_LOST:
        raise ValueError(
            f"{target.name} loses {fp32 - int8:.2f} points on {pairs} ({fp32:.2f} to {int8:.2f}; allowed are {MOST_LOST}); "
            "calibrate on more faces (--count), or leave --int8 out. Nothing was exported"
        )
    return Quantised(str(target.relative_to(root)), side, px, Path(pairs).name, int8, fp32)
