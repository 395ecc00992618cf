"""Adapt a student's BatchNorm statistics once to a user's unlabelled images, then freeze them.

This is FaceBN in mode "full" (AIRD, equations 8 and 9), the only mode that results in an ordinary network, which can be evaluated
and exported. N = images, S = side of the student's input, D = embedding width, C = channels of a BatchNorm layer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from aird_plugin.evaluation.embed import embed, eval_mode, network_inputs
from aird_plugin.models.facebn import KEEP, FaceBN

PAIRS = 10_000


@dataclass(frozen=True)
class LayerShift:
    """Change of one layer's statistics: RMS over channels of the mean's change in old standard deviations, and the median ratio
    of new to old variance."""

    layer: str
    mean_step: float
    variance_factor: float


@dataclass(frozen=True)
class CosineStats:
    """Cosines of random image pairs."""

    mean: float
    std: float


@dataclass(frozen=True)
class AdaptationResult:
    """The adapted state dict, the change of each layer, and the cosines of the user's images before and after."""

    state: dict[str, torch.Tensor]
    layers: list[LayerShift]
    before: CosineStats
    after: CosineStats


def adapt(
    student: nn.Module,
    images_NHWC: np.ndarray,
    keep: float = KEEP["full"],
    batch: int = 96,
    device: str = "cpu",
    include_bn1d: bool = False,
) -> AdaptationResult:
    """Adapt to images at the student's input size, uint8 (N, S, S, 3). The student itself is not changed.

    keep: weight of the old statistics. include_bn1d: adapt BatchNorm1d too. Raises ValueError for fewer than two images and a
    network without a BatchNorm to adapt, and what FaceBN raises.
    """
    if len(images_NHWC) < 2:
        raise ValueError(f"{len(images_NHWC)} image(s) are too few for statistics; give two or more")
    with FaceBN(student, keep, "full", include_bn1d) as bn:
        old = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in bn.layers]
        with eval_mode(student), torch.inference_mode():
            bn.adapt(x for _, x in network_inputs(images_NHWC, batch, 0, device, label="statistics"))
        after = cosine_stats(embed(student, images_NHWC, batch, device=device, label="after"))
        names = {module: name for name, module in student.named_modules()}
        layers = [layer_shift(names[layer], *statistics, layer) for layer, statistics in zip(bn.layers, old, strict=True)]
        state = {name: value.detach().cpu().clone() for name, value in student.state_dict().items()}
    before = cosine_stats(embed(student, images_NHWC, batch, device=device, label="before"))
    return AdaptationResult(state, layers, before, after)


def layer_shift(name: str, old_mean_C: torch.Tensor, old_var_C: torch.Tensor, layer: nn.Module) -> LayerShift:
    """Compare a layer's current statistics with the old ones."""
    step = (layer.running_mean - old_mean_C).square() / (old_var_C + layer.eps)
    ratio = (layer.running_var + layer.eps) / (old_var_C + layer.eps)
    return LayerShift(name, step.mean().sqrt().item(), ratio.median().item())


def random_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of random pairs of two different images, deterministic for a given count."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, count, PAIRS)
    return first, (first + rng.integers(1, count, PAIRS)) % count


def cosine_stats(embeddings_ND: np.ndarray) -> CosineStats:
    """Mean and standard deviation of the cosines of random pairs of L2-normalised embeddings."""
    first, second = random_pairs(len(embeddings_ND))
    cosines = (embeddings_ND[first] * embeddings_ND[second]).sum(1)
    return CosineStats(float(cosines.mean()), float(cosines.std()))
