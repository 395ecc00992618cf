"""Distance between a student's BatchNorm statistics and the images it is tested on. C = channels of a layer."""

import numpy as np
import torch
from torch import nn

from aird_plugin.evaluation.embed import eval_mode, network_inputs
from aird_plugin.models.facebn import FaceBN
from aird_plugin.report.data import BatchNormShift


def measure_batchnorm_shift(
    name: str, student: nn.Module, images_NHWC: np.ndarray, keep: float, batch: int, device: str, include_bn1d: bool = False
) -> BatchNormShift:
    """One pass over the student's inputs, uint8 (N, S, S, 3). The student is unchanged afterwards.

    keep: weight of the old statistics, 0 to below 1. FaceBN mixes means linearly, so its change yields the mean of the images.
    """
    with FaceBN(student, keep, "full", include_bn1d) as bn:
        names = {module: layer_name for layer_name, module in student.named_modules()}
        old = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in bn.layers]
        with eval_mode(student), torch.inference_mode():
            bn.adapt(x for _, x in network_inputs(images_NHWC, batch, 0, device, label=f"{name}, BatchNorm statistics"))
        before, after = {}, {}
        for layer, (mean_C, var_C) in zip(bn.layers, old, strict=True):
            images_mean_C = mean_C + (layer.running_mean - mean_C) / (1 - keep)
            before[names[layer]] = _gap(images_mean_C, mean_C, var_C, layer.eps)
            after[names[layer]] = _gap(images_mean_C, layer.running_mean, layer.running_var, layer.eps)
    return BatchNormShift(name, keep, before, after)


def _gap(images_mean_C, mean_C, var_C, eps: float) -> np.ndarray:
    """How far the images' channel means lie from the running means, in standard deviations."""
    return ((images_mean_C - mean_C) / (var_C + eps).sqrt()).cpu().numpy()
