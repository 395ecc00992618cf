"""Freezing a network's trunk: all that stands before the embedding layers keeps its weights and its statistics."""

from functools import partial

from torch import nn

from aird_plugin.models.maps import stages_of


def freeze_trunk(network: nn.Module) -> None:
    """Let nothing of the trunk change: no gradient, and its BatchNorms stay in eval mode whatever the network is told.

    The trunk ends with the last of `stages_of`; what comes after it (iresnet's bn2 with fc and features, a native student's fc
    and features) is the head and goes on learning. Were the statistics left to move, the frozen weights would see other inputs at
    each step and in verification yet others. State dicts, keys and exports are as before; a fresh network is not frozen.
    Raises ValueError for a network whose stages are not known.
    """
    last = stages_of(network)[-1]
    for child in network.children():
        child.requires_grad_(False)
        child.eval()
        child.train = partial(_stay, child)
        if last in set(child.modules()):
            return
    raise AssertionError(f"the trunk's end is inside none of {type(network).__name__}'s children")


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    return module
