"""Freeze parts of a network: its trunk (every layer before the embedding layers), or its BatchNorm statistics alone."""

from functools import partial
from typing import Any

from torch import nn

from aird_plugin.models.feature_maps import stages_of


def freeze_trunk(network: nn.Module) -> None:
    """Disable gradients in the trunk and keep its BatchNorms in eval mode, also after `network.train()`.

    The trunk ends with the last module of `stages_of`. The layers after it (iresnet's bn2, fc and features; a native student's fc
    and features) are the head and stay trainable. BatchNorm statistics are frozen too, because otherwise the inputs of the frozen
    weights would drift during training and differ in validation. State-dict keys and exports do not change; a newly built network
    is not frozen. Raises ValueError for a network without stages and for an ONNX graph, which has no part behind them.
    """
    last = stages_of(network)[-1]
    child: Any  # its `train` is replaced
    children = list(network.children())
    if len(children) == 1:
        raise ValueError(f"{type(network).__name__} is one module, trunk and embedding layers together; set freeze=None")
    for child in children:
        child.requires_grad_(False)
        child.eval()
        child.train = partial(_ignore_mode, child)
        if last in set(child.modules()):
            return
    raise AssertionError(f"no child of {type(network).__name__} contains the last stage")


def freeze_statistics(network: nn.Module) -> None:
    """Keep the statistics of every BatchNorm, also after `network.train()`; their weights stay trainable."""
    layers: list[Any] = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        layer.eval()
        layer.train = partial(_ignore_mode, layer)


def _ignore_mode(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
