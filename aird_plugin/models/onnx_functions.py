"""ONNX operators as PyTorch functions, where PyTorch's own function has other arguments.

Parameters carry the names of the ONNX specification. Inputs are passed by position and attributes by name, so an operator whose
axes moved from an attribute to an input in a later opset needs one function. Tensors of constant whole numbers (shapes, axes)
arrive as lists, single constant numbers as Python numbers.
"""

import math
from functools import reduce

import torch
from torch.nn import functional as F

# ONNX's data type numbers. Half precision becomes float32.
DTYPES = {1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool}
DTYPES |= {10: torch.float32, 11: torch.float32, 16: torch.float32}


def gemm(a, b, c=None, alpha=1.0, beta=1.0, transA=0, transB=0):
    a = a.t() if transA else a
    if alpha == beta == 1.0 and (c is None or c.dim() == 1):
        return F.linear(a, b if transB else b.t(), c)
    out = alpha * (a @ (b.t() if transB else b))
    return out if c is None else out + beta * c


def prelu(x, slope):
    # F.prelu takes one slope per channel of axis 1; other shapes broadcast.
    per_channel = slope.dim() == x.dim() - 1 and slope.shape[0] == slope.numel() == x.shape[1]
    if per_channel or slope.numel() == 1:
        return F.prelu(x, slope.flatten())
    return torch.where(x >= 0, x, x * slope)


def layer_norm(x, scale, bias=None, axis=-1, epsilon=1e-5, stash_type=1):
    return F.layer_norm(x, x.shape[axis % x.dim() :], scale, bias, epsilon)


def instance_norm(x, scale, bias, epsilon=1e-5):
    return F.instance_norm(x, weight=scale, bias=bias, eps=epsilon)


def flatten(x, axis=1):
    return x.reshape(math.prod(x.shape[:axis]), -1) if axis != 1 else x.flatten(1)


def reshape(x, shape, allowzero=0):
    return x.reshape([x.shape[i] if size == 0 and not allowzero else size for i, size in enumerate(shape)])


def unsqueeze(x, axes):
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x, axes=()):
    return x.squeeze([axis % x.dim() for axis in axes]) if axes else x.squeeze()


def transpose(x, perm=()):
    return x.permute(list(perm) or list(range(x.dim()))[::-1])


def slice_(x, starts, ends, axes=(), steps=()):
    """One or more of Python's slices; starts and ends are counted from the end where they are negative."""
    axes, steps = list(axes) or list(range(len(starts))), list(steps) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        index = [slice(None)] * x.dim()
        if step > 0:
            index[axis] = slice(start, end, step)
            x = x[tuple(index)]
        else:
            # PyTorch has no negative steps: the same positions in rising order, then flipped.
            rising = range(x.shape[axis])[start:end:step][::-1]
            index[axis] = slice(rising.start, rising.stop, rising.step)
            x = x[tuple(index)].flip(axis)
    return x


def split(x, split=(), axis=0, num_outputs=0):
    if split:
        return x.split(list(split), axis)
    return x.chunk(num_outputs, axis)


def gather(x, indices, axis=0):
    indices = torch.as_tensor(indices, device=x.device)
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    picked = x.index_select(axis, indices.flatten())
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis % x.dim() + 1 :]])


def clip(x, min=None, max=None):
    return x if min is None and max is None else torch.clamp(x, min, max)


def cast(x, to, saturate=1):
    if to not in DTYPES:
        raise ValueError(f"Cast to ONNX's data type {to} is not supported; {', '.join(map(str, DTYPES))} are")
    return x.to(DTYPES[to])


def concat(*tensors, axis):
    return torch.cat(tensors, axis)


def dropout(x, ratio=0.5, training_mode=None, seed=0, is_test=1):
    return x


def einsum(*tensors, equation):
    return torch.einsum(equation, *tensors)


def elu(x, alpha=1.0):
    return F.elu(x, alpha)


def expand(x, shape):
    return x * torch.ones(shape, dtype=x.dtype, device=x.device)


def gelu(x, approximate="none"):
    return F.gelu(x, approximate=approximate)


def global_average_pool(x):
    return x.mean(list(range(2, x.dim())), keepdim=True)


def global_max_pool(x):
    return x.amax(list(range(2, x.dim())), keepdim=True)


def hard_sigmoid(x, alpha=0.2, beta=0.5):
    return torch.clamp(alpha * x + beta, 0, 1)


def identity(x):
    return x


def leaky_relu(x, alpha=0.01):
    return F.leaky_relu(x, alpha)


def maximum(*values):
    tensors, numbers = tensors_and_numbers(values)
    largest = reduce(torch.maximum, tensors)
    return torch.clamp(largest, min=max(numbers)) if numbers else largest


def minimum(*values):
    tensors, numbers = tensors_and_numbers(values)
    smallest = reduce(torch.minimum, tensors)
    return torch.clamp(smallest, max=min(numbers)) if numbers else smallest


def tensors_and_numbers(values):
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return tensors, [value for value in values if not isinstance(value, torch.Tensor)]


def reduce_l2(x, axes=(), keepdims=1, noop_with_empty_axes=0):
    return x.abs() if noop_with_empty_axes and not axes else torch.linalg.vector_norm(x, 2, list(axes) or None, bool(keepdims))


def reduce_max(x, axes=(), keepdims=1, noop_with_empty_axes=0):
    return x if noop_with_empty_axes and not axes else x.amax(list(axes) or list(range(x.dim())), bool(keepdims))


def reduce_mean(x, axes=(), keepdims=1, noop_with_empty_axes=0):
    return x if noop_with_empty_axes and not axes else x.mean(list(axes) or None, bool(keepdims))


def reduce_sum(x, axes=(), keepdims=1, noop_with_empty_axes=0):
    return x if noop_with_empty_axes and not axes else x.sum(list(axes) or None, bool(keepdims))


def softmax(x, axis=-1):
    return x.softmax(axis)


def softmax_before_13(x, axis=1):
    # All axes from `axis` on are one; the common case is the last.
    return x.flatten(axis).softmax(-1).view_as(x)


def lp_normalization(x, axis=-1, p=2):
    return F.normalize(x, p=p, dim=axis, eps=0.0)


def add_all(*tensors):
    return sum(tensors[1:], tensors[0])


def matmul(a, b):
    # A constant matrix on the right is a linear layer, whose kernel also fuses the transposition.
    return F.linear(a, b.t()) if b.dim() == 2 else torch.matmul(a, b)


def linear(x, weight, bias):
    return F.linear(x, weight.t(), bias)


def power(x, y):
    return x.square() if isinstance(y, float) and y == 2.0 else torch.pow(x, y)
