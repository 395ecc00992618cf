"""The gradient of each term of the objective at the student's embedding: its norm and its direction.

B = images on this rank, X = rows of the network's output (several per image with further sizes), D = embedding width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from aird_plugin.config.run_section import RunConfig
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.losses.sharding import SINGLE_SHARD
from aird_plugin.training.objective import LossInputs, Objective

# In the names of logged values: TERM_gradient_norm, TERM_gradient_to_identity, TERM_gradient_to_teacher.
INFIX = "_gradient_"
# Below this share of the largest norm a gradient counts as having no direction; the smallest norm that is divided by.
ROUNDING, TINY = 1e-6, 1e-30


def diagnostics_due(run: RunConfig, done: int) -> bool:
    """Whether step `done`, from 1, has diagnostics: every `gradient_diagnostics`-th line of metrics.jsonl."""
    return bool(run.gradient_diagnostics) and done % (run.gradient_diagnostics * run.frequent) == 0


def gradient_diagnostics(
    objective: Objective, output_XD: Tensor, inputs: LossInputs, out: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Norm and direction of each term's gradient with respect to the student's embeddings, means over the images.

    for each term, g_i = the gradient of weight * term with respect to image i's embedding, times the number of images:
        norm          mean of |g_i|
        to_identity   mean of cos(-g_i, -g_i of the identity loss); not for that itself
        to_teacher    mean of cos(-g_i, teacher's embedding of image i)

    A direction's mean is over the images with a gradient; a weight of 0 leaves the direction as it is. output_XD: the network's
    output, from which `inputs` and `out` (the objective's) were computed; the images' own rows come first. The graph is kept.
    Without labels there is no direction of the identity loss, without teacher embeddings of the student's width none of the
    teacher.
    """
    count = len(inputs.label_B)
    weights = {name: objective.weight(name, inputs.epoch) for name in objective.specs}
    if "identity" in out:
        weights = {"identity": objective.identity_weight} | weights
    found: dict[str, Tensor] = {}
    gradients = {name: count * gradient_of(out[name], output_XD)[:count] for name in weights}
    teacher_BD = inputs.teacher_BD
    for name, gradient_BD in gradients.items():
        found[f"{name}{INFIX}norm"] = weights[name] * gradient_BD.norm(dim=1).mean()
        if "identity" in gradients and name != "identity":
            found[f"{name}{INFIX}to_identity"] = mean_cosine(gradient_BD, gradients["identity"], inputs.shards)
        if teacher_BD is not None and teacher_BD.shape == gradient_BD.shape:
            found[f"{name}{INFIX}to_teacher"] = mean_cosine(-gradient_BD, teacher_BD, inputs.shards)
    return found


def without_diagnostics(out: dict[str, Tensor]) -> dict[str, Tensor]:
    """A step's values that every step has."""
    return {name: value for name, value in out.items() if INFIX not in name}


def gradient_of(term: Tensor, output_XD: Tensor) -> Tensor:
    """d term / d output, float32 or float64; zeros for a term that does not depend on it."""
    gradient: Any = None
    if term.requires_grad:
        (gradient,) = torch.autograd.grad(term, output_XD, retain_graph=True, allow_unused=True)
    return at_least_float32(torch.zeros_like(output_XD) if gradient is None else gradient)


def mean_cosine(a_BD: Tensor, b_BD: Tensor, shards=SINGLE_SHARD) -> Tensor:
    """Mean cosine of the rows of all ranks, over those in which neither is 0 up to rounding; 0 where there are none."""
    norm_a_B, norm_b_B = a_BD.norm(dim=1), b_BD.norm(dim=1)
    used_B = (norm_a_B > ROUNDING * norm_a_B.max()) & (norm_b_B > ROUNDING * norm_b_B.max())
    # The rows are scaled first: gradients may be below the cosine's epsilon.
    cosine_B = (F.normalize(a_BD, eps=TINY) * F.normalize(b_BD, eps=TINY)).sum(1)
    total, count = shards.mean_over_ranks(torch.stack([(cosine_B * used_B).sum(), used_B.sum().to(cosine_B.dtype)]))
    return total / count.clamp(min=TINY)
