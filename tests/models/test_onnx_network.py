"""An .onnx recogniser as a trainable network: equal to its file before training, trained like the original, written back."""

import copy
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.__main__ import main
from aird_plugin.models.load import load_model, load_onnx_student, load_teacher
from aird_plugin.models.onnx_network import OnnxNetwork
from tests.models.onnx_files import TOLERANCE, network, random_images, write_network
from tests.skips import needs

onnx = needs("onnx")
needs("onnxruntime")
from onnx import helper, numpy_helper  # noqa: E402

from tests.models import onnx_variants  # noqa: E402
from tests.models.onnx_variants import in_front, unused_inputs, weights_as_inputs  # noqa: E402


def as_opencv_writes(model):
    """Raw input normalised inside, and every weight listed as an input."""
    model = weights_as_inputs(onnx_variants.normalised_inside(model, names=("_minusscalar0", "_mulscalar0")))
    model.ir_version = 3
    return model


# Key -> options of `write_network`; "rewrite" changes the file that it writes.
FILES = {
    "r18 unfolded": {"fold": False},
    "r18 of opset 11, one image": {"opset": 11, "batch": 1},
    "adaface_ir18 unfolded": {"fold": False, "rewrite": onnx_variants.with_norm},
    "ir_se": {},
    "ir_se unfolded": {"fold": False},
    "sface, one image": {"fold": False, "batch": 1, "rewrite": as_opencv_writes},
    "mbf": {},
    "mbf unfolded": {"fold": False},
    "mfn": {},
    "native112_0.05m unfolded": {"fold": False},
    "attention": {},
    "attention of opset 11": {"opset": 11},
    "attention, one image": {"batch": 1},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Maps a key of FILES to its .onnx file, written once."""
    folder = tmp_path_factory.mktemp("onnx")

    @cache
    def write(key: str) -> Path:
        options = dict(FILES[key])
        rewrite = options.pop("rewrite", None)
        path = write_network(folder / f"{key.replace(' ', '_')}.onnx", network(key.split()[0].strip(",")), **options)
        if rewrite:
            onnx.save(rewrite(onnx.load(path)), path)
        return path

    return write


@pytest.fixture(scope="module")
def modules(files):
    """Maps a key of FILES to a copy of its module, opened once."""
    opened = cache(lambda key: OnnxNetwork(files(key)))
    return lambda key: copy.deepcopy(opened(key))


@pytest.mark.parametrize("key", FILES)
def test_equals_the_file_at_any_batch(files, modules, key):
    module, file, x_B3SS = modules(key), load_teacher(files(key)), random_images(5)
    with torch.no_grad():
        for count in (1, 2, 5):
            found, expected = module(x_B3SS[:count]).numpy(), file.embed_inputs(x_B3SS[:count]).numpy()
            np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    # The images differ in their embeddings by more than what is tolerated.
    assert np.abs(expected - expected.mean(0)).max() > 2 * TOLERANCE * np.abs(expected).max()


def sorted_values(parameter: torch.Tensor) -> bytes:
    """What a weight and its transposition in a file have in common."""
    return parameter.detach().flatten().sort()[0].numpy().tobytes()


@pytest.mark.parametrize("key", ["native112_0.05m unfolded", "mbf unfolded", "attention"])
def test_gradients_equal_the_original_networks(modules, key):
    """In float64, for the image and for every parameter of the original network, found by its values."""
    original, module = network(key.split()[0]).double(), modules(key).double()
    # The 64 groups of mbf have no fast kernel in float64.
    x_B3SS, grads = random_images(1 if key.startswith("mbf") else 2).double(), []
    for net in (original, module):
        image = x_B3SS.clone().requires_grad_()
        net(image).square().sum().backward()
        grads.append(image.grad)
    # The constants of a graph (sqrt 2, position encodings) have float32 precision.
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-5, atol=1e-6 * grads[0].abs().max().item())
    trained = [parameter for parameter in original.parameters() if parameter.grad is not None]
    assert len(trained) >= len(list(module.parameters())) - 1
    by_values = {sorted_values(parameter): parameter for parameter in module.parameters()}
    for parameter in trained:
        same = by_values[sorted_values(parameter)]
        mine, theirs = (one.grad.flatten()[one.flatten().argsort()] for one in (parameter, same))
        torch.testing.assert_close(theirs, mine, rtol=1e-5, atol=1e-5 * mine.abs().max().item())


@pytest.mark.parametrize("key", FILES)
def test_untrained_weights_go_back_bit_for_bit(files, modules, key, tmp_path):
    modules(key).to_onnx(tmp_path / "back.onnx", {"aird_plugin": "{}"})
    before, after = onnx.load(files(key)), onnx.load(tmp_path / "back.onnx")
    assert after.metadata_props.pop().key == "aird_plugin"
    assert after == before


@pytest.mark.parametrize("key", ["native112_0.05m unfolded", "mbf", "attention"])
def test_trained_weights_go_back_into_the_same_graph(files, modules, key, tmp_path):
    module = modules(key).train()
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
def test_every_weight_is_trained_and_every_constant_is_not(modules, key):
    """The original's parameters, and neither epsilons and scales nor position encodings."""
    original, module = network("attention"), modules(key)
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in original.parameters())
    module(random_images(2)).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert len(module.sources) == len(list(module.parameters()))


def test_gelu_and_layer_norm_are_single_calls(modules):
    calls = {getattr(node.target, "__name__", "") for node in modules("attention").graph.graph.nodes}
    assert {"gelu", "layer_norm", "linear"} <= calls and "erf" not in calls


def test_batch_norms_are_layers(modules):
    """FaceBN and BatchNorm training find them; their statistics go back into the file."""
    module = modules("native112_0.05m unfolded")
    kinds = [type(layer) for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    expected = [
        type(layer) for layer in network("native112_0.05m").modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    ]
    assert sorted(map(str, kinds)) == sorted(map(str, expected))
    assert sum(name.endswith("running_mean") for name in module.sources) == len(kinds)


def test_nodes_in_any_order_give_the_same_module(files, modules, tmp_path):
    """onnxruntime takes them so, and converters to float16 append theirs at the end of the list."""
    model = onnx.load(files("mbf unfolded"))
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "m.onnx")
    x_B3SS = random_images(2)
    with torch.inference_mode():
        torch.testing.assert_close(OnnxNetwork(tmp_path / "m.onnx")(x_B3SS), modules("mbf unfolded")(x_B3SS))


def test_a_batch_norm_behind_a_computed_shape(tmp_path):
    """Shape inference does not follow a shape that the graph computes: the rank was taken for four."""
    names = {"g": 1.5, "b": 0.5, "mu": 0.1, "var": 2.0}
    constants = {name: np.full(3, value, np.float32) for name, value in names.items()} | {"minus": np.int64([-1])}
    constants |= {"first": np.int64([0]), "w": np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)}
    nodes = [
        helper.make_node("GlobalAveragePool", ["data"], ["pooled"]),
        helper.make_node("Shape", ["pooled"], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["count"]),
        helper.make_node("Concat", ["count", "minus"], ["shape"], axis=0),
        helper.make_node("NonZero", ["shape"], ["places"]),
        helper.make_node("Squeeze", ["places"], ["order"], axes=[0]),
        helper.make_node("Gather", ["shape", "order"], ["same"]),
        helper.make_node("Reshape", ["pooled", "same"], ["flat"]),
        helper.make_node("BatchNormalization", ["flat", *names], ["normal"], name="bn"),
        helper.make_node("MatMul", ["normal", "w"], ["out"]),
    ]
    ports = [helper.make_tensor_value_info("data", 1, ["N", 3, 112, 112])], [helper.make_tensor_value_info("out", 1, None)]
    graph = helper.make_graph(nodes, "g", *ports, [numpy_helper.from_array(value, name) for name, value in constants.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), tmp_path / "m.onnx")
    module, x_B3SS = OnnxNetwork(tmp_path / "m.onnx"), random_images(3)
    with torch.inference_mode():
        torch.testing.assert_close(module(x_B3SS), load_teacher(tmp_path / "m.onnx").embed_inputs(x_B3SS))


def test_a_computed_statistic_is_named(files, tmp_path):
    model = onnx.load(files("mbf unfolded"))
    node = next(node for node in model.graph.node if node.op_type == "BatchNormalization")
    model.graph.node.insert(0, helper.make_node("Neg", [node.input[1]], ["less"]))
    model.graph.node.insert(1, helper.make_node("Neg", ["less"], ["scale"]))
    node.input[1] = "scale"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=r"\(BatchNormalization\): its scale is computed in the graph; only stored"):
        OnnxNetwork(tmp_path / "m.onnx")


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


def test_a_normalisation_inside_the_graph_is_not_trained(files, modules, tmp_path):
    model = onnx.load(files("mbf"))
    raw_input(model)
    onnx.save(model, tmp_path / "raw.onnx")
    module, plain = OnnxNetwork(tmp_path / "raw.onnx"), modules("mbf")
    x_B3SS = random_images(2)
    expected = plain(x_B3SS).detach().numpy()
    np.testing.assert_allclose(module(x_B3SS).detach().numpy(), expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in plain.parameters())


def test_inputs_that_no_operation_uses_are_fed_and_kept(files, modules, tmp_path):
    """Its position encodings are computed by onnxruntime, which wants a value for every input."""
    onnx.save(unused_inputs(onnx.load(files("attention"))), tmp_path / "more.onnx")
    module = OnnxNetwork(tmp_path / "more.onnx")
    x_B3SS = random_images(2)
    assert torch.equal(module(x_B3SS), modules("attention")(x_B3SS))
    module.to_onnx(tmp_path / "back.onnx", {})
    assert onnx.load(tmp_path / "back.onnx") == onnx.load(tmp_path / "more.onnx")


def test_a_batch_norm_on_the_image_is_a_layer_like_any_other(files, modules, tmp_path):
    onnx.save(onnx_variants.batchnorm_inside(onnx.load(files("attention"))), tmp_path / "raw.onnx")
    counts = [
        sum(p.numel() for p in module.parameters()) for module in (OnnxNetwork(tmp_path / "raw.onnx"), modules("attention"))
    ]
    assert counts[0] == counts[1] + 6


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


def test_a_copy_trains_on_its_own(modules):
    module = modules("attention")
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


def write_run(module: OnnxNetwork, folder: Path) -> Path:
    """What loading and evaluation need of a run folder."""
    folder.mkdir()
    (folder / "graph.onnx").write_bytes(module.path.read_bytes())
    (folder / "recipe.json").write_text('{"network": "onnx"}')
    torch.save(module.state_dict(), folder / "model.pt")
    return folder


def test_loading_from_a_run_folder_or_a_file(modules, tmp_path):
    module = modules("attention")
    with torch.no_grad():
        next(module.parameters()).mul_(1.5)
    run = write_run(module, tmp_path / "run")
    x_B3SS = random_images(2)
    for loaded in (load_model(run), load_model(run / "model.pt"), load_onnx_student(run)):
        assert isinstance(loaded, OnnxNetwork)
        assert torch.equal(loaded(x_B3SS), module(x_B3SS))
    teacher = load_teacher(run)
    torch.testing.assert_close(teacher.embed_inputs(x_B3SS), module(x_B3SS).detach())
    (run / "graph.onnx").unlink()
    with pytest.raises(FileNotFoundError, match="graph.onnx is not there"):
        load_model(run)


def test_evaluating_an_untouched_module_equals_evaluating_its_file(files, modules, tmp_path, pairs_file, capsys):
    run, printed, rows = write_run(modules("attention"), tmp_path / "run"), [], []
    for model, name in ((files("attention"), "file.json"), (run, "run.json")):
        options = ["--px", "16", "112", "--protocol", "lr-lr", "lr-hr", "--json", str(tmp_path / name)]
        assert main(["evaluate", str(model), "--pairs", pairs_file, *options]) == 0
        printed.append(capsys.readouterr().out)
        rows.append([row["auc"] for row in json.loads((tmp_path / name).read_text())])
    assert printed[0] == printed[1]
    assert rows[0] == rows[1] and len(set(rows[0])) > 1


def test_only_an_onnx_file_or_run_starts_an_onnx_student(tmp_path):
    torch.save(network("mbf").state_dict(), tmp_path / "mbf.pt")
    with pytest.raises(ValueError, match="starts from an .onnx file"):
        load_onnx_student(tmp_path / "mbf.pt")


def test_nodes_that_take_each_others_outputs_are_refused():
    onnx = pytest.importorskip("onnx")
    from aird_plugin.models.onnx_file import sort_nodes

    names = (("a", "b"), ("b", "c"), ("c", "a"))
    nodes = [onnx.helper.make_node("Relu", [first], [second]) for first, second in names]
    with pytest.raises(ValueError, match="its node with the output '[abc]' takes that output itself"):
        sort_nodes(onnx.helper.make_graph(nodes, "circle", [], []))
    chain = onnx.helper.make_graph(nodes[1::-1], "chain", [], [])
    sort_nodes(chain)
    assert [node.output[0] for node in chain.node] == ["b", "c"]
