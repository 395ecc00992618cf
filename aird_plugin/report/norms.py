"""How far a student's BatchNorm statistics lie from the faces it is tested on. C = channels of a layer."""

import numpy as np
import torch
from torch import nn

from aird_plugin.evaluation.embed import eval_mode, network_inputs
from aird_plugin.models.facebn import FaceBN
from aird_plugin.report.material import Norms


def measure_norms(name: str, student: nn.Module, faces_NHWC: np.ndarray, keep: float, batch: int, device: str) -> Norms:
    """One pass over faces as the student takes them, uint8 (N, S, S, 3); the student is left as it was.

    keep: weight of the old statistics, 0 to below 1. FaceBN mixes means linearly, so the faces' own mean is what moved them.
    """
    with FaceBN(student, keep, "full") as bn:
        names = {module: layer_name for layer_name, module in student.named_modules()}
        old = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in bn.layers]
        with eval_mode(student), torch.inference_mode():
            bn.adapt(x for _, x in network_inputs(faces_NHWC, batch, 0, device, label=f"{name}, BatchNorm statistics"))
        before, after = {}, {}
        for layer, (mean_C, var_C) in zip(bn.layers, old, strict=True):
            faces_mean_C = mean_C + (layer.running_mean - mean_C) / (1 - keep)
            before[names[layer]] = _gap(faces_mean_C, mean_C, var_C, layer.eps)
            after[names[layer]] = _gap(faces_mean_C, layer.running_mean, layer.running_var, layer.eps)
    return Norms(name, keep, before, after)


def _gap(faces_mean_C, mean_C, var_C, eps: float) -> np.ndarray:
    return ((faces_mean_C - mean_C) / (var_C + eps).sqrt()).cpu().numpy()
