"""Tensors that a file stores once for several layers: trained by each layer, and written back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.models import build
from aird_plugin.models.freeze import freeze_statistics
from aird_plugin.models.load import load_teacher
from aird_plugin.models.onnx_network import OnnxNetwork
from tests.models.onnx_files import TOLERANCE, random_images, write_network
from tests.skips import needs

onnx = needs("onnx")
needs("onnxruntime")
from onnx import helper, numpy_helper  # noqa: E402

from tests.models.onnx_variants import weights_as_inputs  # noqa: E402


def train_a_step(module: OnnxNetwork, statistics: bool) -> OnnxNetwork:
    """One step of SGD, with or without the BatchNorm statistics."""
    if not statistics:
        freeze_statistics(module)
    module.train()(random_images(2)).square().sum().backward()
    torch.optim.SGD(module.parameters(), lr=0.1).step()
    return module.eval()


def assert_written_back(module: OnnxNetwork, path: Path) -> None:
    """The file has the module's embeddings, the original's nodes and outputs, and no tensor that nothing reads."""
    module.to_onnx(path, {})
    before, after = onnx.load(module.path), onnx.load(path)
    onnx.checker.check_model(after)
    x_B3SS = random_images(2, seed=5)
    found, expected = load_teacher(path).embed_inputs(x_B3SS), module(x_B3SS).detach()
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=TOLERANCE * expected.abs().max().item())
    nodes = [[(node.name, node.op_type, *node.output) for node in model.graph.node] for model in (before, after)]
    assert nodes[0] == nodes[1]
    assert {tensor.name for tensor in after.graph.initializer} <= {name for node in after.graph.node for name in node.input}


@pytest.mark.parametrize("statistics", [False, True], ids=["frozen", "train"])
def test_a_tensor_stored_once_for_several_batch_norms(tmp_path, statistics):
    """The exporter of a new network stores its zero biases and zero means once; every layer trains its own."""
    new = build("native112_0.05m", 16).eval()
    file = write_network(tmp_path / "new.onnx", new, fold=False)
    module = OnnxNetwork(file)
    assert len(list(module.parameters())) == len(list(new.parameters()))
    module.to_onnx(tmp_path / "same.onnx", {})
    assert onnx.load(tmp_path / "same.onnx") == onnx.load(file)
    assert_written_back(train_a_step(module, statistics), tmp_path / "back.onnx")
    # Where the statistics stayed, they are still stored once, apart from the biases.
    before, after = (len(onnx.load(path).graph.initializer) for path in (file, tmp_path / "back.onnx"))
    layers = sum(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in new.modules())
    widths = len({layer.num_features for layer in new.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)})
    stored = 4 * layers if statistics else 2 * layers + 2 * widths
    assert after == before - 2 * widths + stored


@pytest.mark.parametrize("rewrite", [lambda model: model, weights_as_inputs], ids=["plain", "weights as inputs"])
def test_a_tensor_stored_once_for_a_convolution_and_a_batch_norm(tmp_path, rewrite):
    """The name that the BatchNorm's own bias would get is the convolution's weight."""
    zeros, ones = np.zeros(4, np.float32), np.ones(4, np.float32)
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["data", "bn.bias", "zeros"], ["c"], name="conv"),
        helper.make_node("Identity", ["zeros"], ["copy"], name="both"),
        helper.make_node("BatchNormalization", ["c", "ones", "copy", "copy", "ones"], ["b"], name="bn"),
        helper.make_node("GlobalAveragePool", ["b"], ["p"]),
        helper.make_node("Flatten", ["p"], ["features"]),
    ]
    values = [
        helper.make_tensor_value_info("data", 1, ["N", 3, 112, 112]),
        helper.make_tensor_value_info("features", 1, ["N", 4]),
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in (("bn.bias", weight), ("zeros", zeros), ("ones", ones))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], stored)
    version = 8 if rewrite is not weights_as_inputs else 3
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=version)
    onnx.save(rewrite(model), tmp_path / "new.onnx")
    module = OnnxNetwork(tmp_path / "new.onnx")
    module.to_onnx(tmp_path / "same.onnx", {})
    assert onnx.load(tmp_path / "same.onnx") == model
    assert_written_back(train_a_step(module, statistics=False), tmp_path / "back.onnx")
