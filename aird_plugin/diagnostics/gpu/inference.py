"""FaceBN, evaluation and exported files on the device against the CPU."""

from collections.abc import Iterator

import numpy as np
import torch

from aird_plugin.data.degradation import resize_to_network
from aird_plugin.diagnostics.gpu.check import FAILED, OK, CheckContext, Row, Skipped, bounded
from aird_plugin.diagnostics.gpu.images import synthetic_images
from aird_plugin.diagnostics.gpu.runs import aird_recipe, take_steps
from aird_plugin.diagnostics.gpu.synthetic import SMALL, built, pairs, weights
from aird_plugin.evaluation.embed import embed
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.evaluation.verification import verify
from aird_plugin.export.check import MIN_COSINE
from aird_plugin.models.load import load_teacher

PX, STEPS = 16, 8
SETTINGS = {
    "LR-LR": {"protocol": "lr-lr"},
    "LR-HR, teacher": {"protocol": "lr-hr", "high_side": "teacher"},
    "FaceBN stateless": {"protocol": "lr-lr", "facebn": "stateless"},
    "FaceBN stream": {"protocol": "lr-lr", "facebn": "stream"},
    "FaceBN full": {"protocol": "lr-lr", "facebn": "full"},
}
# Largest difference of a normalised embedding's element, chosen by judgement. FaceBN's statistics are means over a batch in
# another order.
CLOSE = 1e-4
CUDA_PROVIDER = "CUDAExecutionProvider"


def trained_student(context: CheckContext) -> torch.nn.Module:
    """A student after a few steps, on the CPU, so that BatchNorm statistics are no longer 0 and 1."""
    state = built(aird_recipe(context, "student"))
    take_steps(state, 0, STEPS)
    return state.setup.student.cpu().eval()


def check_evaluation(context: CheckContext) -> Iterator[Row]:
    """Embeddings and accuracies of every protocol and FaceBN mode."""
    student = trained_student(context)
    found: dict[str, list[np.ndarray]] = {name: [] for name in SETTINGS}
    for device in (torch.device("cpu"), context.device):
        teacher = load_teacher(weights(context, SMALL), SMALL, device)
        evaluator = PairEvaluator(student.to(device), pairs(context), teacher, 32, device)
        for name, fields in SETTINGS.items():
            found[name].append(evaluator.embeddings(px=PX, **fields))
    for name, (expected_2ND, other_2ND) in found.items():
        accuracies = [verify(e_2ND, evaluator.same_N)["accuracy"] for e_2ND in (expected_2ND, other_2ND)]
        detail = "accuracy {:.1f} and {:.1f}".format(*accuracies)
        yield bounded(f"evaluate, {name}: embeddings", float(np.abs(expected_2ND - other_2ND).max()), CLOSE, detail)


def check_export(context: CheckContext) -> Iterator[Row]:
    """An exported student in onnxruntime's provider of the device against the CPU's network. Raises Skipped without it."""
    try:
        import onnxruntime

        from aird_plugin.export.graph import write_student
    except ImportError as error:
        raise Skipped(str(error).splitlines()[0]) from error
    wanted = CUDA_PROVIDER if context.device.type == "cuda" else "CPUExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise Skipped(f"this onnxruntime has no {wanted}: pip install onnxruntime-gpu")
    student, path = trained_student(context), context.scratch / "student.onnx"
    write_student(student, path, {})
    images_NHWC = synthetic_images(context)
    sides_NSSC = resize_to_network(images_NHWC, student.input_size)
    expected_ND = embed(student, sides_NSSC, flip=False)
    session = onnxruntime.InferenceSession(path, providers=[wanted])
    if session.get_providers()[0] != wanted:
        yield Row(f"exported file in {wanted}", FAILED, f"onnxruntime fell back to {session.get_providers()[0]}")
        return
    inputs = (np.moveaxis(images_NHWC, 3, 1).astype(np.float32) - 127.5) / 127.5
    [found_ND] = session.run(None, {session.get_inputs()[0].name: inputs})
    norms = np.linalg.norm(expected_ND, axis=1) * np.linalg.norm(found_ND, axis=1)
    cosine = float(((expected_ND * found_ND).sum(1) / norms).min())
    status = OK if cosine >= MIN_COSINE else FAILED
    yield Row(f"exported file in {wanted}: smallest cosine", status, f"{cosine:.6f}", f"at least {MIN_COSINE}")
