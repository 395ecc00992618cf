"""Every network by name. This table alone drives building, loading, feature maps and input sizes.

A new network takes its class, which is built as `Class(embedding_size=D)` and maps (B, 3, S, S) to (B, D), and one entry of
`NETWORKS`. With the defaults it trains, and is loaded, evaluated and exported from its run folder; `stages` lets the terms that
compare feature maps use it, `is_state` lets it be loaded from a bare .pt file.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from aird_plugin.models import iresnet, mobilefacenet, native, native_plan


@dataclass(frozen=True)
class Architecture:
    """How one network is built, fed, recognised and read.

    build: takes embedding_size=D, gives a freshly initialised network, (B, 3, S, S) float32 RGB, (x - 127.5) / 127.5, to (B, D).
    about: one line for help texts. input_size: S, in pixels. stages: dotted names of the modules whose outputs are the feature
    maps, shallow to deep, the last one the end of the trunk. is_state: whether a state dict is this network's, by its keys.
    """

    build: Callable[..., nn.Module]
    about: str
    input_size: int = 112
    stages: tuple[str, ...] = ()
    is_state: Callable[[Mapping[str, Tensor]], bool] | None = None


def has_keys(*keys: str) -> Callable[[Mapping[str, Tensor]], bool]:
    """An `is_state` that asks for all of these keys."""
    return lambda state: all(key in state for key in keys)


def _iresnet(name: str) -> Architecture:
    blocks = iresnet.BLOCKS[name]
    return Architecture(
        partial(iresnet.IResNet, blocks),
        f"arcface_torch's iresnet{name[1:]}",
        stages=("layer1", "layer2", "layer3", "layer4"),
        is_state=lambda state: iresnet.blocks_in(state) == blocks,
    )


NETWORKS: dict[str, Architecture] = {
    **{name: _iresnet(name) for name in iresnet.BLOCKS},
    "mbf": Architecture(
        mobilefacenet.ArcfaceMobileFaceNet,
        "arcface_torch's mobilefacenet",
        stages=("layers.1", "layers.3", "layers.5", "conv_sep"),
        is_state=has_keys("layers.0.layers.0.weight", "conv_sep.layers.0.weight"),
    ),
    "mfn": Architecture(
        mobilefacenet.MobileFaceNet,
        "MobileFaceNet as published (crops to 112x96 inside)",
        stages=("dw_conv1", "blocks.4", "blocks.11", "conv2"),
        is_state=has_keys("dw_conv1.conv.weight", "linear7.conv.weight"),
    ),
}
NATIVE = "native{px}_{millions}m"
NATIVE_ABOUT = "3x3 convolutions on the px x px image; with _dw depthwise-separable ones, with _prelu PReLU"
NATIVE_EXAMPLES = ("native16_1m", "native32_0.2m", "native112_0.5m", "native16_1m_dw")
# A native student's size cannot be read from its state dict, only that it is one.
is_native_state = has_keys("stages.0.0.0.weight", "features.running_mean")


def architecture(name: str) -> Architecture:
    """The entry of `NETWORKS`, or that of the native student which the name spells.

    Raises ValueError for an unknown name, naming the choices and the nearest, or for a native student of impossible size.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if native_plan.spells_native(name):
        spec = native_plan.parse_name(name)
        stages = tuple(f"stages.{number}" for number in range(len(native_plan.plan_stages(spec.px)[0])))
        return Architecture(partial(native.Native, spec), NATIVE_ABOUT, spec.px, stages)
    raise ValueError(
        f"network {name!r} is not one of {', '.join([*NETWORKS, NATIVE])} (px 8 to 112); nearest: {nearest_name(name)}"
    )


def build(name: str, embedding_size: int = 512) -> nn.Module:
    """Build a freshly initialised network.

    name: a key of `NETWORKS`, or a native student's, which spells its side and size, as in `native16_1m`.
    embedding_size: width D of the embedding.

    The network maps (B, 3, S, S) float32, RGB, (x - 127.5) / 127.5, to (B, D), not normalised. S is its attribute `input_size`;
    its attribute `stage_names` names the modules whose outputs are its feature maps.

    Raises what `architecture` raises, and ValueError for an embedding_size that is no whole number of 1 or more.
    """
    if not isinstance(embedding_size, int) or embedding_size < 1:
        raise ValueError(f"embedding_size is a whole number of 1 or more, got {embedding_size!r}")
    found = architecture(name)
    network = found.build(embedding_size=embedding_size)
    network.input_size, network.stage_names = found.input_size, found.stages
    return network


def detect(state: Mapping[str, Tensor]) -> str | None:
    """The key of `NETWORKS` whose `is_state` accepts this state dict, None where none does."""
    return next((name for name, found in NETWORKS.items() if found.is_state and found.is_state(state)), None)


def nearest_name(name: Any) -> str:
    """The known network name spelt most like `name`; for error messages."""
    return difflib.get_close_matches(str(name), [*NETWORKS, *NATIVE_EXAMPLES], n=1, cutoff=0.0)[0]
