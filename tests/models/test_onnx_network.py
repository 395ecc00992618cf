"""An .onnx recogniser as a trainable network: equal to its file before training, trained like the original, written back."""

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.models import build
from aird_plugin.models.freeze import freeze_statistics
from aird_plugin.models.load import load_model, load_onnx_student, load_teacher
from aird_plugin.models.onnx_network import OnnxNetwork
from tests.exact import rounding
from tests.models.onnx_files import network, write_network
from tests.skips import needs

onnx = needs("onnx")
needs("onnxruntime")
from onnx import helper, numpy_helper  # noqa: E402

from tests.models.onnx_variants import in_front, unused_inputs, weights_as_inputs  # noqa: E402

FILES = {
    "r18 unfolded": {"fold": False},
    "r18 of opset 11, one image": {"opset": 11, "batch": 1},
    "mbf": {},
    "mbf unfolded": {"fold": False},
    "mfn": {},
    "native112_0.05m unfolded": {"fold": False},
    "attention": {},
    "attention of opset 11": {"opset": 11},
    "attention, one image": {"batch": 1},
}
# The longest sum of these networks, over 512 x 7 x 7 values of size up to about 4.
TOLERANCE = rounding(25_088) * 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Maps a key of FILES to its .onnx file, written once."""
    folder = tmp_path_factory.mktemp("onnx")

    @cache
    def write(key: str) -> Path:
        name = key.split()[0].strip(",")
        return write_network(folder / f"{key.replace(' ', '_')}.onnx", network(name), **FILES[key])

    return write


def random_images(count: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("key", FILES)
def test_equals_the_file_at_any_batch(files, key):
    module, file, x_B3SS = OnnxNetwork(files(key)), load_teacher(files(key)), random_images(5)
    with torch.no_grad():
        for count in (1, 2, 5):
            found, expected = module(x_B3SS[:count]).numpy(), file.embed_inputs(x_B3SS[:count]).numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("key", ["native112_0.05m unfolded", "mbf unfolded", "attention"])
def test_gradients_equal_the_original_networks(files, key):
    """In float64, for the image and for every parameter of the original network, found by its values."""
    original, module = network(key.split()[0]).double(), OnnxNetwork(files(key)).double()
    x_B3SS, grads = random_images(3).double(), []
    for net in (original, module):
        image = x_B3SS.clone().requires_grad_()
        net(image).square().sum().backward()
        grads.append(image.grad)
    # The constants of a graph (sqrt 2, position encodings) have float32 precision.
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-5, atol=1e-6 * grads[0].abs().max().item())
    trained = [parameter for parameter in original.parameters() if parameter.grad is not None]
    assert len(trained) >= len(list(module.parameters())) - 1
    for parameter in trained:
        values = parameter.flatten().sort()[0]
        same = next(other for other in module.parameters() if torch.equal(other.flatten().sort()[0], values))
        mine, theirs = (one.grad.flatten()[one.flatten().argsort()] for one in (parameter, same))
        torch.testing.assert_close(theirs, mine, rtol=1e-5, atol=1e-5 * mine.abs().max().item())


@pytest.mark.parametrize("key", FILES)
def test_untrained_weights_go_back_bit_for_bit(files, key, tmp_path):
    OnnxNetwork(files(key)).to_onnx(tmp_path / "back.onnx", {"aird_plugin": "{}"})
    before, after = onnx.load(files(key)), onnx.load(tmp_path / "back.onnx")
    assert after.metadata_props.pop().key == "aird_plugin"
    assert after == before


@pytest.mark.parametrize("key", ["native112_0.05m unfolded", "mbf", "attention"])
def test_trained_weights_go_back_into_the_same_graph(files, key, tmp_path):
    module = OnnxNetwork(files(key)).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    module(random_images(4)).square().mean().backward()
    optimizer.step()
    module.eval().to_onnx(tmp_path / "back.onnx", {})
    x_B3SS = random_images(2, seed=5)
    found, expected = load_teacher(tmp_path / "back.onnx").embed_inputs(x_B3SS), module(x_B3SS).detach()
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=TOLERANCE * expected.abs().max().item())
    before, after = onnx.load(files(key)), onnx.load(tmp_path / "back.onnx")
    assert [(node.name, node.op_type, node.input, node.output) for node in after.graph.node] == [
        (node.name, node.op_type, node.input, node.output) for node in before.graph.node
    ]
    assert (after.graph.input, after.graph.output, after.opset_import) == (
        before.graph.input,
        before.graph.output,
        before.opset_import,
    )
    assert after.graph.initializer != before.graph.initializer


@pytest.mark.parametrize("key", ["attention", "attention of opset 11", "attention, one image"])
def test_every_weight_is_trained_and_every_constant_is_not(files, key):
    """The original's parameters, and neither epsilons and scales nor position encodings."""
    original, module = network("attention"), OnnxNetwork(files(key))
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in original.parameters())
    module(random_images(2)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert len(module.sources) == len(list(module.parameters()))


def test_gelu_and_layer_norm_are_single_calls(files):
    calls = {getattr(node.target, "__name__", "") for node in OnnxNetwork(files("attention")).graph.graph.nodes}
    assert {"gelu", "layer_norm", "linear"} <= calls and "erf" not in calls


def test_batch_norms_are_layers(files):
    """FaceBN and BatchNorm training find them; their statistics go back into the file."""
    module = OnnxNetwork(files("native112_0.05m unfolded"))
    kinds = [type(layer) for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    expected = [
        type(layer) for layer in network("native112_0.05m").modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    assert sorted(map(str, kinds)) == sorted(map(str, expected))
    assert sum(name.endswith("running_mean") for name in module.sources) == len(kinds)


def raw_input(model):
    """A Sub and a Mul with weights of three channels before the first convolution, under InsightFace's node names."""
    image = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["scaled" if name == image else name for name in node.input]
    nodes = [helper.make_node("Sub", [image, "mean"], ["centred"], name="Sub_0")]
    nodes += [helper.make_node("Mul", ["centred", "std"], ["scaled"], name="Mul_0"), *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for name, value in (("mean", 127.5), ("std", 1 / 127.5)):
        model.graph.initializer.append(numpy_helper.from_array(np.full((1, 3, 1, 1), value, np.float32), name))


def test_a_normalisation_inside_the_graph_is_not_trained(files, tmp_path):
    model = onnx.load(files("mbf"))
    raw_input(model)
    onnx.save(model, tmp_path / "raw.onnx")
    module, plain = OnnxNetwork(tmp_path / "raw.onnx"), OnnxNetwork(files("mbf"))
    x_B3SS = random_images(2)
    expected = plain(x_B3SS).detach().numpy()
    np.testing.assert_allclose(module(x_B3SS).detach().numpy(), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in plain.parameters())


def test_inputs_that_no_operation_uses_are_fed_and_kept(files, tmp_path):
    """Its position encodings are computed by onnxruntime, which wants a value for every input."""
    onnx.save(unused_inputs(onnx.load(files("attention"))), tmp_path / "more.onnx")
    module = OnnxNetwork(tmp_path / "more.onnx")
    x_B3SS = random_images(2)
    assert torch.equal(module(x_B3SS), OnnxNetwork(files("attention"))(x_B3SS))
    module.to_onnx(tmp_path / "back.onnx", {})
    assert onnx.load(tmp_path / "back.onnx") == onnx.load(tmp_path / "more.onnx")


def test_an_unknown_operator_is_named(files, tmp_path):
    model = onnx.load(files("mbf"))
    last = model.graph.node[-1]
    last.output[0], output = "before", last.output[0]
    model.graph.node.append(helper.make_node("Selu", ["before"], [output], name="odd"))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ValueError, match="operators Selu are not supported .*it can still be a teacher.*Supported are .*Conv"):
        OnnxNetwork(tmp_path / "odd.onnx")
    assert load_teacher(tmp_path / "odd.onnx").dim == 16


def test_an_operation_that_fails_is_named(files, tmp_path):
    """A variant of a supported operator, which shows only when the graph runs."""
    pads = {"pads": np.zeros(8, np.int64)}
    pad = lambda old: [helper.make_node("Pad", ["image", "pads"], [old], name="border", mode="reflect")]  # noqa: E731
    onnx.save(in_front(onnx.load(files("attention")), pad, pads), tmp_path / "odd.onnx")
    refused = r"odd\.onnx cannot be trained: node border \(Pad\): Pad with mode='reflect'.*; it can still be a teacher$"
    with pytest.raises(ValueError, match=refused):
        OnnxNetwork(tmp_path / "odd.onnx")
    assert load_teacher(tmp_path / "odd.onnx").dim == 16


def test_a_module_that_differs_from_its_file_is_refused(files, monkeypatch):
    from aird_plugin.models import onnx_graph

    operator = onnx_graph.operator
    monkeypatch.setattr(onnx_graph, "operator", lambda name, opset: torch.abs if name == "Add" else operator(name, opset))
    monkeypatch.setattr(onnx_graph, "parameter_names", lambda function: ["tensor"])
    with pytest.raises((ValueError, TypeError)):
        OnnxNetwork(files("mbf"))


def test_a_copy_trains_on_its_own(files):
    module = OnnxNetwork(files("attention"))
    copied = copy.deepcopy(module)
    with torch.no_grad():
        next(copied.parameters()).add_(1)
    x_B3SS = random_images(1)
    assert not torch.equal(module(x_B3SS), copied(x_B3SS))


def test_a_changed_file_is_not_written_back(files, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(files("mbf").read_bytes())
    module = OnnxNetwork(path)
    path.write_bytes(files("attention").read_bytes())
    with pytest.raises(ValueError, match="has changed since it was opened"):
        module.to_onnx(tmp_path / "back.onnx", {})
    assert not (tmp_path / "back.onnx").exists()


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


def test_external_weights_are_read_and_written_inside(files, tmp_path):
    folder = tmp_path / "external"
    folder.mkdir()
    model = onnx.load(files("mbf"))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=64)
    module = OnnxNetwork(folder / "m.onnx")
    module.to_onnx(tmp_path / "inside.onnx", {})
    assert len(list(tmp_path.glob("*.onnx"))) == 1
    x_B3SS = random_images(2)
    torch.testing.assert_close(
        load_teacher(tmp_path / "inside.onnx").embed_inputs(x_B3SS), load_teacher(files("mbf")).embed_inputs(x_B3SS)
    )
    (folder / "m.bin").unlink()
    with pytest.raises(ValueError):
        OnnxNetwork(folder / "m.onnx")


def test_loading_from_a_run_folder_or_a_file(files, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "graph.onnx").write_bytes(files("mbf").read_bytes())
    (run / "recipe.json").write_text('{"network": "onnx"}')
    module = OnnxNetwork(files("mbf"))
    with torch.no_grad():
        next(module.parameters()).mul_(1.5)
    torch.save(module.state_dict(), run / "model.pt")
    x_B3SS = random_images(2)
    for loaded in (load_model(run), load_model(run / "model.pt"), load_onnx_student(run)):
        assert isinstance(loaded, OnnxNetwork)
        assert torch.equal(loaded(x_B3SS), module(x_B3SS))
    teacher = load_teacher(run)
    torch.testing.assert_close(teacher.embed_inputs(x_B3SS), module(x_B3SS).detach())
    (run / "graph.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="graph.onnx is not there"):
        load_model(run)


def test_only_an_onnx_file_or_run_starts_an_onnx_student(tmp_path):
    torch.save(network("mbf").state_dict(), tmp_path / "mbf.pt")
    with pytest.raises(ValueError, match="starts from an .onnx file"):
        load_onnx_student(tmp_path / "mbf.pt")
