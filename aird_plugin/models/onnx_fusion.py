"""Patterns that exporters write out as several operators, replaced by PyTorch's own function: fewer passes over memory."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch.nn import functional as F

from aird_plugin.models.onnx_functions import linear, matmul


def fuse(graph: fx.Graph) -> None:
    """Replace GELU by erf (x * (1 + erf(x / sqrt 2)) / 2) and a product with a matrix plus a bias, in place."""
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is torch.erf:
            fuse_gelu(graph, node)
        elif node.target is torch.add:
            fuse_bias(graph, node)
    graph.eliminate_dead_code()


def fuse_gelu(graph: fx.Graph, erf: fx.Node) -> None:
    """Both orders of the products that PyTorch's and other exporters write: (x * (1 + erf)) * 0.5 and (x * 0.5) * (1 + erf)."""
    scaled = erf.args[0]
    divided = is_call(scaled, torch.div) and near(scaled.args[1], math.sqrt(2))
    if not divided and not (is_call(scaled, torch.mul) and near(scaled.args[1], math.sqrt(0.5))):
        return
    x = scaled.args[0]
    plus_one = only_user(erf)
    if plus_one is None or not is_call(plus_one, torch.add) or 1.0 not in plus_one.args:
        return
    product = only_user(plus_one)
    if product is None or not is_call(product, torch.mul):
        return
    other = other_argument(product, plus_one)
    halved = only_user(product)
    if other is x and halved is not None and is_call(halved, torch.mul) and 0.5 in halved.args:
        last = halved
    elif is_call(other, torch.mul) and 0.5 in other.args and other_argument(other, 0.5) is x:
        last = product
    else:
        return
    replace(graph, last, F.gelu, (x,))


def fuse_bias(graph: fx.Graph, add: fx.Node) -> None:
    """matmul(x, W) + b, with W and b parameters of two axes and one."""
    for product, bias in (add.args, add.args[::-1]):
        if not (is_call(product, matmul) and only_user(product) is add and axes_of(product.args[1]) == 2 and axes_of(bias) == 1):
            continue
        replace(graph, add, linear, (*product.args, bias))
        return


def replace(graph: fx.Graph, node: fx.Node, function, args: tuple) -> None:
    """Put a call in the place of a node; what it made unused is removed later."""
    with graph.inserting_before(node):
        call = graph.call_function(function, args)
    call.meta |= node.meta
    node.replace_all_uses_with(call)


def is_call(node: Any, function) -> bool:
    return isinstance(node, fx.Node) and node.op == "call_function" and node.target is function


def only_user(node: fx.Node) -> fx.Node | None:
    users: Iterator[fx.Node] = iter(node.users)
    return next(users) if len(node.users) == 1 else None


def other_argument(node: fx.Node, one: object) -> Any:
    """The argument of a product of two that is not `one`."""
    return node.args[1] if node.args[0] is one or node.args[0] == one else node.args[0]


def axes_of(node: object) -> int | None:
    """Number of axes of a parameter, None for anything else."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    value = getattr(node.graph.owning_module, str(node.target), None)
    return value.dim() if isinstance(value, torch.nn.Parameter) else None


def near(value: object, number: float) -> bool:
    return isinstance(value, float) and math.isclose(value, number, rel_tol=1e-6)
