"""A network's intermediate maps: which modules give them, and how they are caught.

B = faces, C = channels, H, W = sides of a map; a map is (B, C, H, W).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from aird_plugin.models.iresnet import IResNet
from aird_plugin.models.mobilefacenet import ArcfaceMobileFaceNet, MobileFaceNet


def stages_of(network: nn.Module) -> tuple[nn.Module, ...]:
    """The modules whose outputs are the network's maps, shallow to deep: the last module at each side.

    The last one is the end of the trunk: what it gives is what the embedding is made of. iresnet has 4 (sides 56, 28, 14, 7),
    both MobileFaceNets 4 (the same; those of `mfn` are 6/7 as wide), a native student one a stage (native16: 16, 8, 4).
    Raises ValueError for a network that it does not know.
    """
    if isinstance(network, IResNet):
        return network.layer1, network.layer2, network.layer3, network.layer4
    if isinstance(network, ArcfaceMobileFaceNet):
        return network.layers[1], network.layers[3], network.layers[5], network.conv_sep
    if isinstance(network, MobileFaceNet):
        return network.dw_conv1, network.blocks[4], network.blocks[11], network.conv2
    if isinstance(getattr(network, "stages", None), nn.Sequential):
        return tuple(network.stages)
    raise ValueError(f"intermediate maps are known of iresnet, mbf, mfn and native networks; this is a {type(network).__name__}")


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
