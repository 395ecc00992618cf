"""BatchNorm statistics moved towards a user's own unlabelled faces, once, and frozen.

FaceBN in its mode "full" (AIRD, equations 8 and 9): the mode whose result is a network like any other, which can be evaluated and
exported. N = faces, S = side of the student's input, D = embedding width, C = channels of a BatchNorm layer.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from aird_plugin.evaluation.embed import embed, eval_mode, network_inputs
from aird_plugin.models.facebn import KEEP, FaceBN

PAIRS = 10_000


@dataclass(frozen=True)
class Moved:
    """How far one layer's statistics went: RMS over channels of the mean's step in old standard deviations, and the median
    factor of the variance."""

    layer: str
    mean_step: float
    variance_factor: float


@dataclass(frozen=True)
class Spread:
    """Cosines of random pairs of the faces."""

    mean: float
    std: float


@dataclass(frozen=True)
class Adapted:
    """The new state dict, what moved, and the scores of the user's own faces before and after."""

    state: dict[str, torch.Tensor]
    layers: list[Moved]
    before: Spread
    after: Spread


def adapt(
    student: nn.Module, faces_NHWC: np.ndarray, keep: float = KEEP["full"], batch: int = 96, device: str = "cpu"
) -> Adapted:
    """Adapt to faces as the student takes them, uint8 (N, S, S, 3). The student itself is left as it was.

    keep: weight of the old statistics. Raises ValueError for fewer than two faces, a network without BatchNorm2d, and what
    FaceBN raises.
    """
    if len(faces_NHWC) < 2:
        raise ValueError(f"{len(faces_NHWC)} face(s) have no statistics; give two or more")
    with FaceBN(student, keep, "full") as bn:
        old = [(layer.running_mean.clone(), layer.running_var.clone()) for layer in bn.layers]
        with eval_mode(student), torch.inference_mode():
            bn.adapt(x for _, x in network_inputs(faces_NHWC, batch, 0, device, label="statistics"))
        after = spread(embed(student, faces_NHWC, batch, device=device, label="after"))
        names = {module: name for name, module in student.named_modules()}
        layers = [moved(names[layer], *was, layer) for layer, was in zip(bn.layers, old, strict=True)]
        state = {name: value.detach().cpu().clone() for name, value in student.state_dict().items()}
    before = spread(embed(student, faces_NHWC, batch, device=device, label="before"))
    return Adapted(state, layers, before, after)


def moved(name: str, old_mean_C, old_var_C, layer) -> Moved:
    """One layer's movement."""
    step = (layer.running_mean - old_mean_C).square() / (old_var_C + layer.eps)
    factor = (layer.running_var + layer.eps) / (old_var_C + layer.eps)
    return Moved(name, step.mean().sqrt().item(), factor.median().item())


def random_pairs(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of different faces, the same for the same count."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, count, PAIRS)
    return first, (first + rng.integers(1, count, PAIRS)) % count


def spread(embeddings_ND: np.ndarray) -> Spread:
    """Mean and standard deviation of the cosines of random pairs of L2-normalised embeddings."""
    first, second = random_pairs(len(embeddings_ND))
    cosines = (embeddings_ND[first] * embeddings_ND[second]).sum(1)
    return Spread(float(cosines.mean()), float(cosines.std()))
