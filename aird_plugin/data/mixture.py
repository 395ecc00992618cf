"""The recipe key `degradation`: a name, or a mixture of which each image of a batch draws one.

A mixture is a dict name -> weight; an image is degraded by a name with probability weight / sum of weights. The draws do not
depend on the order of the keys.
"""

import sys
from typing import Any

import numpy as np

from aird_plugin.data.degradation import BICUBIC, DEGRADATIONS, get_degradation


def check_degradation(degradation: str | dict) -> None:
    """Raise ValueError for an unknown name, an empty mixture, or a weight that is not a finite number above 0."""
    if isinstance(degradation, str):
        get_degradation(degradation)
        return
    if not degradation:
        raise ValueError(f"degradation={{}} is an empty mixture; name one of {', '.join(DEGRADATIONS)}, or several with weights")
    for name, weight in degradation.items():
        if name not in DEGRADATIONS:
            raise ValueError(f"degradation is a mixture of {', '.join(DEGRADATIONS)}; got {name!r}")
        if not is_weight(weight):
            raise ValueError(f"degradation[{name!r}] is a weight, a finite number above 0; got {weight!r}")


def is_mixture(degradation: str | dict) -> bool:
    """Whether each image draws its degradation."""
    return isinstance(degradation, dict)


def verified_degradation(degradation: str | dict) -> str:
    """The degradation of a run's verification: that of its training images, and bicubic for a mixture."""
    return BICUBIC if is_mixture(degradation) else str(degradation)


def version_of(degradation: str | dict) -> str:
    """The version that recipe.json records: of one degradation, or of each part of a mixture."""
    if not is_mixture(degradation):
        return get_degradation(str(degradation)).version
    return "mixture of " + "; ".join(f"{name}: {DEGRADATIONS[name].version}" for name in DEGRADATIONS if name in degradation)


def draw_degradations(rng: np.random.Generator, degradation: str | dict, count: int) -> list[str]:
    """A name for each of `count` images. The generator is used for mixtures only."""
    if not isinstance(degradation, dict):
        return [degradation] * count
    names = [name for name in DEGRADATIONS if name in degradation]
    # Divided by the largest first, so that the sum of huge weights stays finite.
    weight_M = np.array([float(degradation[name]) for name in names])
    bounds_M = np.cumsum(weight_M / weight_M.max())
    index_B = np.searchsorted(bounds_M, rng.random(count) * bounds_M[-1], side="right")
    return [names[index] for index in index_B.clip(max=len(names) - 1)]


def is_weight(weight: Any) -> bool:
    """Whether `weight` is a finite number above 0."""
    return isinstance(weight, int | float) and not isinstance(weight, bool) and 0 < weight <= sys.float_info.max
