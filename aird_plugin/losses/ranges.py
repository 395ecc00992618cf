"""Checks of the numbers in a spec or a section of a recipe, which no value that is not finite passes, and of a loss's shapes."""

import math
from typing import Any


def at_least(spec: Any, low: float, *keys: str) -> None:
    """Raise ValueError naming the first of these fields that is not a finite number, `low` or more."""
    for key in keys:
        value = getattr(spec, key)
        if not low <= value < math.inf:
            raise ValueError(f"{key} must be {low} or more{_finite(value)}; got {value!r}")


def above(spec: Any, low: float, *keys: str) -> None:
    """Raise ValueError naming the first of these fields that is not a finite number above `low`."""
    for key in keys:
        value = getattr(spec, key)
        if not low < value < math.inf:
            raise ValueError(f"{key} must be above {low}{_finite(value)}; got {value!r}")


def between(spec: Any, low: float, high: float, *keys: str) -> None:
    """Raise ValueError naming the first of these fields outside low..high, both included."""
    for key in keys:
        value = getattr(spec, key)
        if not low <= value <= high:
            raise ValueError(f"{key} must be from {low} to {high}; got {value!r}")


def angles(spec: Any, *keys: str) -> None:
    """Raise ValueError naming the first of these angular margins that is not from 0 to pi / 2.

    With a larger one the target logit would rise with the angle at 90 degrees, where the embeddings of an untrained network are.
    """
    for key in keys:
        value = getattr(spec, key)
        if not 0 <= value <= math.pi / 2:
            raise ValueError(f"{key} must be an angle in radians, 0 to pi / 2 = 1.5708; got {value!r}")


def one_shape(what: str, first: Any, second: Any) -> None:
    """Raise ValueError where two tensors differ in shape. what: their names."""
    if first.shape != second.shape:
        raise ValueError(f"{what} must have one shape; got {tuple(first.shape)} and {tuple(second.shape)}")


def _finite(value: float) -> str:
    return " and finite" if value == math.inf else ""
