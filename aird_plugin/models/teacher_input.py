"""How a network takes an image: channel order, mean and std, layout, size, dtype, and which output is the embedding.

B = images, H = W = side of the image in pixels, h, w = rows and columns that the network takes.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aird_plugin.data.constants import FACE_SIDE

CHOICES = {"color": ("rgb", "bgr"), "layout": ("nchw", "nhwc"), "dtype": ("float32", "float16", "uint8")}
# The center columns of a 112 px crop are the 112 x 96 crop: InsightFace's landmarks for 112 px are those of 112 x 96, 8 px to the
# right.
CROP = (FACE_SIDE, 96)
KEYS = "color, mean, std, layout, size, dtype, output"
EXAMPLE = "{'color': 'bgr', 'mean': 127.5, 'std': 128}"


@dataclass(frozen=True)
class TeacherInput:
    """A statement on a network's input and output; None leaves a value to the rules (models/onnx_input.py).

    color: "rgb" or "bgr".  mean, std: of the grey levels 0..255, a number or one for each channel in the network's own order:
    the network takes (x - mean) / std.  layout: "nchw" or "nhwc".  size: a side, 112, or (112, 96), the center columns of the
    112 px crop.  dtype: "float32", "float16" or "uint8".  output: name or index of the output that is the embedding.

    Raises ValueError for another value.
    """

    color: str | None = None
    mean: Any = None
    std: Any = None
    layout: str | None = None
    size: Any = None
    dtype: str | None = None
    output: str | int | None = None

    def __post_init__(self):
        for key, allowed in CHOICES.items():
            value = getattr(self, key)
            if value is not None and (not isinstance(value, str) or value not in allowed):
                raise ValueError(f"teacher_input: {key} is {' or '.join(map(repr, allowed))}; got {value!r}")
        if isinstance(self.output, bool) or not isinstance(self.output, str | int | None):
            raise ValueError(f"teacher_input: output is the name or the index of an output; got {self.output!r}")
        for key, check in (("mean", _levels), ("std", _levels), ("size", _size)):
            value = getattr(self, key)
            object.__setattr__(self, key, None if value is None else check(key, value))
        if self.std is not None and min(self.std) < 1:
            raise ValueError(
                f"teacher_input: std is in grey levels 0..255, 1 or more; got {self.std!r}. Values for images in 0..1 are "
                "multiplied by 255, and the mean too: ImageNet's are mean (123.675, 116.28, 103.53), std (58.395, 57.12, 57.375)"
            )
        if self.dtype == "uint8" and (self.mean or (0.0,) * 3, self.std or (1.0,) * 3) != ((0.0,) * 3, (1.0,) * 3):
            raise ValueError(f"teacher_input: a uint8 input takes grey levels; leave out mean and std; got {self}")

    @classmethod
    def of(cls, value: "TeacherInput | Mapping[str, Any] | None", name: str = "teacher_input") -> "TeacherInput":
        """A statement from a recipe's dict (the keys are the fields), or nothing stated for None. name: for the errors."""
        if isinstance(value, cls):
            return value
        if value is not None and not isinstance(value, Mapping):
            raise ValueError(f"{name} is a dict such as {EXAMPLE}, or None; got {value!r}")
        for key in value or {}:
            if key not in cls.__dataclass_fields__:
                raise ValueError(f"{name} has no key {key!r}; its keys are {KEYS}")
        try:
            return cls(**(value or {}))
        except ValueError as error:
            raise ValueError(str(error).replace("teacher_input", name, 1)) from error

    def over(self, other: "TeacherInput") -> "TeacherInput":
        """This statement, with what it leaves open taken from `other`."""
        return TeacherInput(**{**_stated(other), **_stated(self)})

    def describe(self, usual: "TeacherInput | None" = None) -> dict[str, Any]:
        """What is stated, as a manifest stores it; with `usual`, only what differs from it."""
        known = _stated(usual) if usual else {}
        return {key: _short(value) for key, value in _stated(self).items() if known.get(key) != value}

    def __str__(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.describe().items()) or "by the rules"

    def apply(self, inputs_B3HW: Tensor) -> Tensor:
        """Inputs as InsightFace normalises them, float32 RGB (x - 127.5) / 127.5, -> the network's input, on the same device.

        (B, 3, H, W) -> (B, 3, h, w), or (B, h, w, 3) for "nhwc". What is not stated stays as InsightFace's.
        """
        x = inputs_B3HW
        if self.size is not None and tuple(x.shape[2:]) != self.size:
            top, left = ((have - want) // 2 for have, want in zip(x.shape[2:], self.size, strict=True))
            x = x[:, :, top : top + self.size[0], left : left + self.size[1]]
        x = x.flip(1) if self.color == "bgr" else x
        mean, std = self.mean or USUAL.mean, self.std or USUAL.std
        if (mean, std) != (USUAL.mean, USUAL.std):
            scale, shift = ([127.5 / s for s in std], [(127.5 - m) / s for m, s in zip(mean, std, strict=True)])
            x = x * x.new_tensor(scale).view(3, 1, 1) + x.new_tensor(shift).view(3, 1, 1)
        if self.dtype == "uint8":
            x = x.round().clamp(0, 255)
        x = x.to(getattr(torch, self.dtype)) if self.dtype else x
        return x.permute(0, 2, 3, 1) if self.layout == "nhwc" else x


def described_inputs(networks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name -> how each loaded network is fed, for result rows: all keys that are known, stated or by the rules.

    None, an absent network, is left out; the second of an ensemble is listed as "NAME 2", as in `models.find.model_hashes`.
    """
    found = {}
    for name, network in networks.items():
        for number, one in enumerate([] if network is None else getattr(network, "teachers", [network])):
            found[f"{name} {number + 1}" if number else name] = getattr(one, "input", USUAL).describe()
    return found


def _stated(statement: TeacherInput) -> dict[str, Any]:
    return {field.name: value for field in dataclasses.fields(statement) if (value := getattr(statement, field.name)) is not None}


def _short(value: Any) -> Any:
    """Three equal levels as one number, an image's equal sides as one side."""
    if not isinstance(value, tuple):
        return value
    return value[0] if len(set(value)) == 1 else list(value)


def _levels(key: str, value: Any) -> tuple[float, float, float]:
    """A number or three as three floats."""
    values = list(value) if isinstance(value, list | tuple) else [value] * 3
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)]
    if len(numbers) != 3 or len(values) != 3:
        raise ValueError(f"teacher_input: {key} is a number or three of them, in grey levels 0..255; got {value!r}")
    return (float(numbers[0]), float(numbers[1]), float(numbers[2]))


def _size(key: str, value: Any) -> tuple[int, int]:
    """A side or (rows, columns) as (rows, columns)."""
    sides = tuple(value) if isinstance(value, list | tuple) else (value, value)
    whole = len(sides) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if not whole or not (sides == CROP or sides[0] == sides[1] and 1 <= sides[0] <= FACE_SIDE):
        raise ValueError(
            f"teacher_input: {key} is {FACE_SIDE}, or {CROP} for the center columns of the {FACE_SIDE} px crop; got {value!r}"
        )
    return sides


# InsightFace's recognisers without a normalisation inside the graph, and arcface_torch's networks.
USUAL = TeacherInput("rgb", 127.5, 127.5, "nchw", None, "float32", None)
