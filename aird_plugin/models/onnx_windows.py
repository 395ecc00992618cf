"""Convolution, pooling and padding of ONNX as PyTorch functions; conventions as in onnx_functions.py."""

import math
from collections.abc import Sequence

from torch.nn import functional as F


def conv(x, weight, bias=None, strides=(), pads=(), dilations=(), group=1, kernel_shape=(), auto_pad="NOTSET"):
    """Convolution; pads are (begin of each axis..., end of each axis...)."""
    axes = weight.dim() - 2
    strides, dilations = list(strides) or [1] * axes, list(dilations) or [1] * axes
    spans = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    begin, end = padding(x.shape[2:], spans, strides, pads, auto_pad)
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[axes]
    if begin != end:
        x, begin = pad_ends(x, begin, end), [0] * axes
    return function(x, weight, bias, strides, begin, dilations, group)


def padding(sides: Sequence[int], spans: Sequence[int], strides: Sequence[int], pads, auto_pad: str) -> tuple[list, list]:
    """Pixels to add at the begin and at the end of each axis."""
    axes = len(spans)
    if auto_pad in ("NOTSET", "VALID"):
        pads = list(pads) if pads and auto_pad == "NOTSET" else [0] * 2 * axes
        return pads[:axes], pads[axes:]
    totals = [
        max((math.ceil(side / stride) - 1) * stride + span - side, 0)
        for side, span, stride in zip(sides, spans, strides, strict=True)
    ]
    halves = [total // 2 for total in totals]
    rests = [total - half for total, half in zip(totals, halves, strict=True)]
    return (halves, rests) if auto_pad == "SAME_UPPER" else (rests, halves)


def pad_ends(x, begin, end, value=0.0):
    """`F.pad` of the last axes; begin and end are listed from the first of them to the last."""
    return F.pad(x, [size for pair in reversed(list(zip(begin, end, strict=True))) for size in pair], value=value)


def max_pool(x, kernel_shape, strides=(), pads=(), dilations=(), ceil_mode=0, auto_pad="NOTSET", storage_order=0):
    begin, end = padding(x.shape[2:], kernel_shape, list(strides) or [1] * len(kernel_shape), pads, auto_pad)
    x = pad_ends(x, begin, end, value=-math.inf) if any([*begin, *end]) else x
    return F.max_pool2d(x, kernel_shape, list(strides) or 1, 0, list(dilations) or 1, bool(ceil_mode))


def average_pool(x, kernel_shape, strides=(), pads=(), dilations=(), ceil_mode=0, auto_pad="NOTSET", count_include_pad=0):
    """AveragePool. Raises ValueError for dilations other than 1 and for unequal pads, which PyTorch's has not."""
    if set(dilations) - {1}:
        raise ValueError(f"AveragePool with dilations {list(dilations)} is not supported; dilations of 1 are")
    begin, end = padding(x.shape[2:], kernel_shape, list(strides) or [1] * len(kernel_shape), pads, auto_pad)
    if begin != end:
        raise ValueError(f"AveragePool with unequal pads {begin} and {end} is not supported; equal ones are")
    return F.avg_pool2d(x, kernel_shape, list(strides) or 1, begin, bool(ceil_mode), bool(count_include_pad))


def pad(x, pads, constant_value=0.0, axes=(), mode="constant", value=0.0):
    if mode != "constant" or axes:
        raise ValueError(f"Pad with mode={mode!r}, axes={list(axes)} is not supported; mode 'constant' over all axes is")
    half = len(pads) // 2
    return pad_ends(x, pads[:half], pads[half:], constant_value or value)
