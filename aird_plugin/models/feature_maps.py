"""Feature maps of a network: the modules that output them, and forward hooks that record them.

B = images, C = channels, H, W = sides of a map; a map is (B, C, H, W).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from aird_plugin.models.registry import NETWORKS


def stages_of(network: nn.Module) -> tuple[nn.Module, ...]:
    """The modules whose outputs are the network's feature maps, shallow to deep: the last module of each side.

    The last one ends the trunk: the embedding is computed only from its output. `models/registry.py` lists them: iresnet has 4
    (sides 56, 28, 14, 7), both MobileFaceNets 4 (the same sides; the maps of `mfn` are 6/7 as wide), a native student one per
    stage (native16: 16, 8, 4); `models/onnx_stages.py` finds those of an ONNX graph. Raises ValueError for a network without
    stages.
    """
    names = getattr(network, "stage_names", ())
    if not names:
        raise ValueError(
            f"{type(network).__name__} has no feature maps: it has no stages in models/registry.py, or is a graph without maps; "
            f"use one of {', '.join(name for name, known in NETWORKS.items() if known.stages)} or a native student"
        )
    return tuple(network.get_submodule(name) for name in names)


@contextmanager
def recorded_maps(network: nn.Module) -> Iterator[list[Tensor | None]]:
    """Context manager: each forward pass of `network` stores its maps in the yielded list, shallow to deep, with their gradient.

    The forward hooks on the stages are removed on exit. Pass the bare network: its hooks also run inside DistributedDataParallel.
    torch.compile does not guarantee that, so compile=True is rejected where a loss uses feature maps.
    """
    stages = stages_of(network)
    maps: list[Tensor | None] = [None] * len(stages)
    hooks = [stage.register_forward_hook(partial(_store, maps, index)) for index, stage in enumerate(stages)]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _store(maps: list, index: int, stage: nn.Module, inputs: tuple, output: Tensor) -> None:
    maps[index] = output


def map_shapes(network: nn.Module) -> tuple[tuple[int, int, int], ...]:
    """(C, H, W) of each map, from a forward pass of one zero image. The network is not changed."""
    was_training = network.training
    parameter = next(network.parameters())
    try:
        with torch.no_grad(), recorded_maps(network.eval()) as maps:
            network(torch.zeros(1, 3, network.input_size, network.input_size, device=parameter.device, dtype=parameter.dtype))
    finally:
        network.train(was_training)
    return tuple(tuple(map_1CHW.shape[1:]) for map_1CHW in maps)
