"""What other people's recognisers look like: a graph that takes InsightFace's input, rewritten to take another one."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = {"RGB": None, "BGR": [2, 1, 0]}


def in_front(model, nodes, constants=(), shape=None, dtype=TensorProto.FLOAT):
    """The graph behind `nodes`, which map the new input "image" to the old one."""
    graph = model.graph
    old = graph.input[0]
    shape = shape or [dim.dim_param or dim.dim_value for dim in old.type.tensor_type.shape.dim]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes(old.name), *rest])
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items())
    graph.input.remove(old)
    graph.input.insert(0, helper.make_tensor_value_info("image", dtype, shape))
    return model


def bgr(model):
    """Channels reversed inside: the network takes BGR."""
    index = {"order": np.int64([2, 1, 0])}
    return in_front(model, lambda old: [helper.make_node("Gather", ["image", "order"], [old], name="swap", axis=1)], index)


def normalised_inside(model, mean=127.5, std=127.5, names=("node_subtract", "node_scale")):
    """Raw 0..255 input, normalised by nodes of these names."""
    constants = {"m": np.float32(mean).reshape(1, -1, 1, 1), "s": 1 / np.float32(std).reshape(1, -1, 1, 1)}
    return in_front(
        model,
        lambda old: [
            helper.make_node("Sub", ["image", "m"], ["less"], name=names[0]),
            helper.make_node("Mul", ["less", "s"], [old], name=names[1]),
        ],
        constants,
    )


def scaled_then_shifted(model):
    """Raw input, as x * (1 / 127.5) - 1."""
    constants = {"s": np.float32([1 / 127.5]), "one": np.float32([1])}
    return in_front(
        model,
        lambda old: [helper.make_node("Mul", ["image", "s"], ["x"]), helper.make_node("Sub", ["x", "one"], [old])],
        constants,
    )


def divided_by_255(model):
    """Raw input, as (x / 255 - 0.5) / 0.5."""
    constants = {"a": np.float32([255]), "half": np.float32([0.5])}
    return in_front(
        model,
        lambda old: [
            helper.make_node("Div", ["image", "a"], ["x"]),
            helper.make_node("Sub", ["x", "half"], ["y"]),
            helper.make_node("Div", ["y", "half"], [old]),
        ],
        constants,
    )


def batchnorm_inside(model):
    """Raw input, normalised by a BatchNormalization, as MXNet's bn_data does."""
    three = np.ones(3, np.float32)
    constants = {"g": three, "b": 0 * three, "mu": 127.5 * three, "v": 127.5**2 * three}
    return in_front(model, lambda old: [helper.make_node("BatchNormalization", ["image", "g", "b", "mu", "v"], [old])], constants)


def unit_range(model):
    """Input in 0..1, as torchvision's ToTensor gives it, normalised by (x - 0.5) / 0.5."""
    constants = {"half": np.float32([0.5])}
    return in_front(
        model,
        lambda old: [helper.make_node("Sub", ["image", "half"], ["x"]), helper.make_node("Div", ["x", "half"], [old])],
        constants,
    )


def unit_range_of_one_tensor(model):
    """Input in 0..1, whose mean and std are equal and stored once, as PyTorch's exporter does."""
    constants = {"half": np.float32([0.5])}
    nodes = lambda old: [  # noqa: E731
        helper.make_node("Identity", ["half"], ["std"]),
        helper.make_node("Sub", ["image", "half"], ["x"]),
        helper.make_node("Div", ["x", "std"], [old]),
    ]
    return in_front(model, nodes, constants)


def gathered_inside(model):
    """Raw input, whose channels are put in order by an index before they are normalised: PyTorch's x[:, [2, 1, 0]]."""
    constants = {"order": np.int64([0, 1, 2]), "m": np.float32([127.5])}
    nodes = lambda old: [  # noqa: E731
        helper.make_node("Gather", ["image", "order"], ["x"], axis=1),
        helper.make_node("Sub", ["x", "m"], ["y"]),
        helper.make_node("Div", ["y", "m"], [old]),
    ]
    return in_front(model, nodes, constants)


def numbers_in_attributes(model):
    """Raw input, whose mean and std are Constant nodes with a number in the place of a tensor."""
    nodes = lambda old: [  # noqa: E731
        helper.make_node("Constant", [], ["m"], value_float=127.5),
        helper.make_node("Constant", [], ["s"], value_floats=[127.5]),
        helper.make_node("Sub", ["image", "m"], ["x"]),
        helper.make_node("Div", ["x", "s"], [old]),
    ]
    return in_front(model, nodes)


def channel_by_channel(model):
    """Raw input, of which each channel is normalised by itself."""
    constants = {"m": np.float32([127.5]), "axis": np.int64([1])} | {str(end): np.int64([end]) for end in range(4)}
    channels = [
        [
            helper.make_node("Slice", ["image", str(channel), str(channel + 1), "axis"], [f"x{channel}"]),
            helper.make_node("Sub", [f"x{channel}", "m"], [f"y{channel}"]),
            helper.make_node("Div", [f"y{channel}", "m"], [f"z{channel}"]),
        ]
        for channel in range(3)
    ]
    joined = lambda old: [*sum(channels, []), helper.make_node("Concat", ["z0", "z1", "z2"], [old], axis=1)]  # noqa: E731
    return in_front(model, joined, constants)


def clipped_and_resized(model):
    """Raw input, clipped and resized by its own shape before it is normalised."""
    constants = {"low": np.float32(0), "high": np.float32(255), "m": np.float32([127.5])}
    nodes = lambda old: [  # noqa: E731
        helper.make_node("Clip", ["image", "low", "high"], ["x"]),
        helper.make_node("Shape", ["x"], ["sides"]),
        helper.make_node("Resize", ["x", "", "", "sides"], ["y"], mode="linear"),
        helper.make_node("Sub", ["y", "m"], ["z"]),
        helper.make_node("Div", ["z", "m"], [old]),
    ]
    return in_front(model, nodes, constants)


def imagenet(model):
    """The network takes (x - mean) / std with ImageNet's: undone inside."""
    std, mean = np.float32([58.395, 57.12, 57.375]), np.float32([123.675, 116.28, 103.53])
    constants = {"a": (std / 127.5).reshape(1, 3, 1, 1), "b": ((mean - 127.5) / 127.5).reshape(1, 3, 1, 1)}
    return in_front(
        model,
        lambda old: [helper.make_node("Mul", ["image", "a"], ["x"]), helper.make_node("Add", ["x", "b"], [old])],
        constants,
    )


def over_128(model):
    """The network takes (x - 127) / 128."""
    constants = {"a": np.float32([128 / 127.5]), "b": np.float32([-0.5 / 127.5])}
    return in_front(
        model,
        lambda old: [helper.make_node("Mul", ["image", "a"], ["x"]), helper.make_node("Add", ["x", "b"], [old])],
        constants,
    )


def nhwc(model):
    """Channels last, as TensorFlow's exports."""
    return in_front(
        model,
        lambda old: [helper.make_node("Transpose", ["image"], [old], perm=[0, 3, 1, 2])],
        shape=["N", 112, 112, 3],
    )


def padded_from_96(model):
    """Input 112 x 96, padded to 112 x 112 inside."""
    constants = {"pads": np.int64([0, 0, 0, 8, 0, 0, 0, 8])}
    return in_front(model, lambda old: [helper.make_node("Pad", ["image", "pads"], [old])], constants, shape=["N", 3, 112, 96])


def half_input(model):
    """Input in float16."""
    nodes = lambda old: [helper.make_node("Cast", ["image"], [old], to=TensorProto.FLOAT)]  # noqa: E731
    return in_front(model, nodes, dtype=TensorProto.FLOAT16)


def uint8_input(model):
    """Input in uint8, normalised inside."""
    constants = {"m": np.float32([127.5])}
    return in_front(
        model,
        lambda old: [
            helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["f", "m"], ["c"]),
            helper.make_node("Div", ["c", "m"], [old]),
        ],
        constants,
        dtype=TensorProto.UINT8,
    )


def behind(model, nodes, outputs, constants=()):
    """The graph with further nodes on its embedding, and these outputs."""
    graph = model.graph
    graph.node.extend(nodes(graph.output[0].name))
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items())
    kept = {graph.output[0].name: graph.output[0]}
    del graph.output[:]
    for name in outputs(next(iter(kept))):
        graph.output.append(kept.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def with_norm(model):
    """(embedding / norm, norm), as AdaFace returns them; the norm comes first here."""
    return behind(
        model,
        lambda e: [
            helper.make_node("ReduceL2", [e], ["norm"], axes=[1], keepdims=1),
            helper.make_node("Div", [e, "norm"], ["feature"]),
        ],
        lambda e: ["norm", "feature"],
    )


def two_embeddings(model):
    """The embedding, and another output (B, D) that is none: its square."""
    return behind(model, lambda e: [helper.make_node("Mul", [e, e], ["square"])], lambda e: ["square", e])


def four_dimensions(model):
    """Output (B, D, 1, 1)."""
    return behind(
        model,
        lambda e: [helper.make_node("Unsqueeze", [e, "last"], ["map"])],
        lambda e: ["map"],
        {"last": np.int64([2, 3])},
    )


def weights_as_inputs(model):
    """Every weight also listed as an input, as exporters before IR version 4 did."""
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return model


def unused_inputs(model):
    """Inputs without values that no operation uses, which MXNet's converters leave."""
    for name, shape in (("bn_gamma", [3]), ("label", ["N", 1])):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


def fixed_batch(model):
    """A declared batch of one."""
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    return model


# Variant -> (rewriting, what has to be stated because no file shows it).
VARIANTS = {
    "bgr": (bgr, {"color": "bgr"}),
    "(x - 127) / 128": (over_128, {"mean": 127, "std": 128}),
    "imagenet": (imagenet, {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}),
    "raw, other node names": (normalised_inside, None),
    "raw, InsightFace's node names": (lambda model: normalised_inside(model, names=("Sub1", "Mul1")), None),
    "raw, scaled then shifted": (scaled_then_shifted, None),
    "raw, divided by 255": (divided_by_255, None),
    "raw, BatchNorm": (batchnorm_inside, None),
    "raw, channels in order": (gathered_inside, None),
    "raw, numbers in attributes": (numbers_in_attributes, None),
    "raw, channel by channel": (channel_by_channel, None),
    "raw, clipped and resized": (clipped_and_resized, None),
    "0..1": (unit_range, None),
    "0..1, one tensor": (unit_range_of_one_tensor, None),
    "nhwc": (nhwc, None),
    "float16": (half_input, None),
    "uint8": (uint8_input, None),
    "two outputs, a norm": (with_norm, None),
    "two embeddings": (two_embeddings, {"output": -1}),
    "(B, D, 1, 1)": (four_dimensions, None),
    "weights as inputs": (weights_as_inputs, None),
    "unused inputs": (unused_inputs, None),
    "batch of one": (fixed_batch, None),
}


def write_variant(source, target, name):
    """Write the variant of a file, and return what has to be stated."""
    rewrite, stated = VARIANTS[name]
    onnx.save(rewrite(onnx.load(source)), target)
    return stated
