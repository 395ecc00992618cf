"""Registry of all networks by name: building, loading, feature maps and input sizes.

To add a network, write a class that is built as `Class(embedding_size=D)` and maps (B, 3, S, S) to (B, D), and add one entry to
`NETWORKS`. With the defaults it can be trained, and loaded, evaluated and exported from its run folder. `stages` enables the
feature-map losses, `is_state` enables loading from a bare .pt file.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from aird_plugin.models.ir import ADAFACE_IR, IR, IR_BLOCKS, IR_SE, IRNet, IRStyle, stage_ends, style_of
from aird_plugin.models.iresnet import BLOCKS, IResNet, blocks_in
from aird_plugin.models.mobilefacenet import ArcfaceMobileFaceNet, MobileFaceNet
from aird_plugin.models.native import Native
from aird_plugin.models.native_plan import is_native_name, parse_name, plan_stages


@dataclass(frozen=True)
class Architecture:
    """Builder and properties of one network.

    build: takes embedding_size=D and returns a newly initialised network, (B, 3, S, S) float32 RGB, (x - 127.5) / 127.5, to
    (B, D). about: one line for help texts. input_size: S, in pixels. stages: dotted names of the modules whose outputs are the
    feature maps, shallow to deep; the last one ends the trunk. is_state: whether the keys of a state dict are this network's.
    """

    build: Callable[..., nn.Module]
    about: str
    input_size: int = 112
    stages: tuple[str, ...] = ()
    is_state: Callable[[Mapping[str, Tensor]], bool] | None = None


def has_keys(*keys: str) -> Callable[[Mapping[str, Tensor]], bool]:
    """An `is_state` that requires all of these keys."""
    return lambda state: all(key in state for key in keys)


def _iresnet(name: str) -> Architecture:
    blocks = BLOCKS[name]
    return Architecture(
        partial(IResNet, blocks),
        f"arcface_torch's iresnet{name[1:]}",
        stages=("layer1", "layer2", "layer3", "layer4"),
        is_state=lambda state: blocks_in(state) == blocks,
    )


def _ir(depth: int, style: IRStyle, about: str) -> Architecture:
    blocks = IR_BLOCKS[depth]
    return Architecture(
        partial(IRNet, blocks, style), about, stages=stage_ends(blocks), is_state=lambda state: style_of(state) == (blocks, style)
    )


OTHERS = {
    **{f"ir{depth}": (depth, IR, f"face.evoLVe's and InsightFace_Pytorch's IR-{depth}") for depth in (50, 101, 152)},
    **{f"ir_se{depth}": (depth, IR_SE, f"face.evoLVe's and InsightFace_Pytorch's IR-SE-{depth}") for depth in (50, 101, 152)},
    **{f"adaface_ir{depth}": (depth, ADAFACE_IR, f"AdaFace's and CVLface's IR-{depth}") for depth in (18, 34, 50, 101)},
}

NETWORKS: dict[str, Architecture] = {
    **{name: _iresnet(name) for name in BLOCKS},
    **{name: _ir(*entry) for name, entry in OTHERS.items()},
    "mbf": Architecture(
        ArcfaceMobileFaceNet,
        "arcface_torch's mobilefacenet",
        stages=("layers.1", "layers.3", "layers.5", "conv_sep"),
        is_state=has_keys("layers.0.layers.0.weight", "conv_sep.layers.0.weight"),
    ),
    "mfn": Architecture(
        MobileFaceNet,
        "MobileFaceNet as published (crops its input to 112x96)",
        stages=("dw_conv1", "blocks.4", "blocks.11", "conv2"),
        is_state=has_keys("dw_conv1.conv.weight", "linear7.conv.weight"),
    ),
}
# Not in `NETWORKS`: it is built from a file (models/onnx_network.py).
ONNX = "onnx"
NATIVE = "native{px}_{millions}m"
NATIVE_ABOUT = "3x3 convolutions on the px x px image; _dw: depthwise-separable, _prelu: PReLU, _gdc: global depthwise pooling"
NATIVE_EXAMPLES = ("native16_1m", "native32_0.2m", "native112_0.5m", "native16_1m_dw")
# A state dict shows that it is a native student's, but not its size.
is_native_state = has_keys("stages.0.0.0.weight", "features.running_mean")


def architecture(name: str) -> Architecture:
    """The entry of `NETWORKS` for `name`, or a new entry for the name of a native student.

    Raises ValueError for an unknown name (the message lists the choices and the nearest one) and for a native student of an
    impossible size.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if is_native_name(name):
        spec = parse_name(name)
        stages = tuple(f"stages.{number}" for number in range(len(plan_stages(spec.px)[0])))
        return Architecture(partial(Native, spec), NATIVE_ABOUT, spec.px, stages)
    if name == ONNX:
        raise ValueError(f"network={ONNX!r} is built from a file: student_init=FILE.onnx")
    raise ValueError(
        f"network {name!r} is not one of {', '.join([*NETWORKS, NATIVE, ONNX])} (px 8 to 112); nearest: {nearest_name(name)}"
    )


def build(name: str, embedding_size: int = 512) -> nn.Module:
    """Build a newly initialised network.

    name: a key of `NETWORKS`, or a native student's name, which contains its side and size, e.g. `native16_1m`.
    embedding_size: width D of the embedding.

    The network maps (B, 3, S, S) float32, RGB, (x - 127.5) / 127.5, to (B, D), not normalised. Its attribute `input_size` is S;
    its attribute `stage_names` lists the modules whose outputs are its feature maps.

    Raises what `architecture` raises, and ValueError for an embedding_size that is not a whole number of 1 or more.
    """
    if not isinstance(embedding_size, int) or embedding_size < 1:
        raise ValueError(f"embedding_size must be a whole number of 1 or more, got {embedding_size!r}")
    found = architecture(name)
    network: Any = found.build(embedding_size=embedding_size)
    network.input_size, network.stage_names = found.input_size, found.stages
    return network


def detect(state: Mapping[str, Tensor]) -> str | None:
    """The key of `NETWORKS` whose `is_state` accepts this state dict, or None."""
    return next((name for name, found in NETWORKS.items() if found.is_state and found.is_state(state)), None)


def nearest_name(name: Any) -> str:
    """The registered network name closest to `name` in spelling, for error messages."""
    return difflib.get_close_matches(str(name), [*NETWORKS, *NATIVE_EXAMPLES, ONNX], n=1, cutoff=0.0)[0]
