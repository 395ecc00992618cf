"""A network's intermediate maps: which modules give them, and how they are caught.

B = faces, C = channels, H, W = sides of a map; a map is (B, C, H, W).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from aird_plugin.models.registry import NETWORKS


def stages_of(network: nn.Module) -> tuple[nn.Module, ...]:
    """The modules whose outputs are the network's maps, shallow to deep: the last module at each side.

    The last one is the end of the trunk: the embedding is computed from its output alone. `models/registry.py` names
    them: iresnet has 4 (sides 56, 28, 14, 7), both MobileFaceNets 4 (the same; those of `mfn` are 6/7 as wide), a native
    student one a stage (native16: 16, 8, 4). Raises ValueError for a network without registered stages.
    """
    names = getattr(network, "stage_names", ())
    if not names:
        raise ValueError(
            f"{type(network).__name__} has no feature maps to compare: it names no stages in models/registry.py; take one of "
            f"{', '.join(name for name, known in NETWORKS.items() if known.stages)} or a native student"
        )
    return tuple(network.get_submodule(name) for name in names)


@contextmanager
def recorded_maps(network: nn.Module) -> Iterator[list[Tensor | None]]:
    """Inside, each forward of `network` leaves its maps in the list given, shallow to deep, with gradient where it has one.

    Hooks sit on the stages and go when the block is left. Hand over the bare network: inside DistributedDataParallel its hooks
    still run. Inside torch.compile that is not promised, so compile=True is refused where a term looks at maps.
    """
    stages = stages_of(network)
    maps: list[Tensor | None] = [None] * len(stages)
    hooks = [stage.register_forward_hook(partial(_keep, maps, place)) for place, stage in enumerate(stages)]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _keep(maps: list, place: int, stage: nn.Module, inputs: tuple, output: Tensor) -> None:
    maps[place] = output


def map_shapes(network: nn.Module) -> tuple[tuple[int, int, int], ...]:
    """(C, H, W) of each map, found by one face of zeros. Leaves the network as it was."""
    was_training = network.training
    place = next(network.parameters())
    try:
        with torch.no_grad(), recorded_maps(network.eval()) as maps:
            network(torch.zeros(1, 3, network.input_size, network.input_size, device=place.device, dtype=place.dtype))
    finally:
        network.train(was_training)
    return tuple(tuple(map_1CHW.shape[1:]) for map_1CHW in maps)
