"""ONNX teachers: which graphs load, and how their inputs are normalised and batched."""

import pickle

import numpy as np
import pytest
import torch

from aird_plugin.models import onnx_file
from aird_plugin.models.load import load_teacher
from aird_plugin.utils.files import file_sha256
from tests.exact import rounding
from tests.skips import needs

onnx = needs("onnx")
needs("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

WEIGHT = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)


def write_graph(path, shape=("N", 3, 112, 112), names=("pool", "flat", "fc"), own_norm=False, baked=None, outputs=1):
    """Mean colour times a 3x8 matrix; optionally with normalisation inside, or a reshape to `baked` images."""
    nodes, source = [], "data"
    constants = {"w": WEIGHT, "mean": np.float32([127.5]), "scale": np.float32([1 / 127.5])}
    if own_norm:
        nodes.append(helper.make_node("Sub", ["data", "mean"], ["centred"], name=names[0] + "_a"))
        nodes.append(helper.make_node("Mul", ["centred", "scale"], ["scaled"], name=names[1] + "_b"))
        source = "scaled"
    nodes.append(helper.make_node("GlobalAveragePool", [source], ["pooled"], name=names[0]))
    if baked:
        constants["shape"] = np.int64([baked, 3])
        nodes.append(helper.make_node("Reshape", ["pooled", "shape"], ["flat"], name=names[1]))
    else:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name=names[1]))
    nodes.append(helper.make_node("MatMul", ["flat", "w"], ["embedding"], name=names[2]))
    out = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, None)]
    if outputs == 2:
        out.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, None))
    data = helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)
    used = {name for node in nodes for name in node.input}
    initializers = [numpy_helper.from_array(v, k) for k, v in constants.items() if k in used]
    graph = helper.make_graph(nodes, "g", [data], out, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def expected(images_NHWC):
    return ((images_NHWC.astype(np.float64) - 127.5) / 127.5).mean((1, 2)) @ WEIGHT.astype(np.float64)


def assert_embeds(teacher, images_NHWC):
    """A channel mean is a sum of 112 * 112 numbers of magnitude up to 1, times a weight."""
    bound = rounding(112 * 112) * np.abs(WEIGHT).sum(0).max()
    np.testing.assert_allclose(teacher.embed(images_NHWC), expected(images_NHWC), rtol=0, atol=bound)
    assert bound < np.abs(expected(images_NHWC)).max() / 10


def test_dynamic_batch(tmp_path, noise_faces):
    teacher = load_teacher(write_graph(tmp_path / "w600k.onnx"))
    images_NHWC = noise_faces(21)
    assert_embeds(teacher, images_NHWC)
    assert (teacher.dim, teacher.fixed_batch, teacher.classifier) == (8, None, None)
    assert teacher.embed(images_NHWC[:0]).shape == (0, 8)
    assert teacher.describe()["kind"] == "onnx"


@pytest.mark.parametrize("batch", [1, 4])
def test_fixed_batch_is_padded_and_looped(tmp_path, noise_faces, batch):
    teacher = load_teacher(write_graph(tmp_path / "fixed.onnx", shape=(batch, 3, 112, 112)))
    images_NHWC = noise_faces(6)
    assert teacher.fixed_batch == batch
    assert_embeds(teacher, images_NHWC)


def test_constant_batch_in_a_graph_with_a_dynamic_one(tmp_path, noise_faces):
    teacher = load_teacher(write_graph(tmp_path / "mbf.onnx", baked=1))
    images_NHWC = noise_faces(3)
    assert teacher.fixed_batch == 1
    assert_embeds(teacher, images_NHWC)


@pytest.mark.parametrize(("names", "raw"), [(("Sub", "Mul", "fc"), True), (("_minus0", "_mulscalar0", "fc"), True)])
def test_normalisation_inside_is_detected_by_node_names(tmp_path, noise_faces, names, raw):
    teacher = load_teacher(write_graph(tmp_path / "own.onnx", names=names, own_norm=True))
    images_NHWC = noise_faces(3)
    assert (teacher.input.mean == (0, 0, 0)) is raw and "input" not in teacher.describe()
    assert_embeds(teacher, images_NHWC)


@pytest.mark.parametrize("names", [("/Sub", "/Mul", "fc"), ("Sub", "scale", "fc"), ("pool", "Mul", "fc")])
def test_normalisation_inside_under_other_node_names_is_detected_by_its_constants(tmp_path, noise_faces, names, capsys):
    teacher = load_teacher(write_graph(tmp_path / "other.onnx", names=names, own_norm=True))
    assert teacher.describe()["input"] == {"mean": 0.0, "std": 1.0}
    assert_embeds(teacher, noise_faces(3))
    note = "note: other.onnx: its first operations show an input of raw 0..255, InsightFace's rule of node names one of -1..1"
    assert note in capsys.readouterr().err


@pytest.mark.parametrize("names", [("Sub", "Mul", "fc"), ("_minus0", "_mulscalar0", "fc")])
def test_names_of_a_normalisation_without_one_are_not_believed(tmp_path, noise_faces, names, capsys):
    """InsightFace feeds this graph raw grey levels; nothing in front of its first layer subtracts anything."""
    teacher = load_teacher(write_graph(tmp_path / "other.onnx", names=names))
    assert teacher.describe()["input"] == {"mean": 127.5, "std": 127.5}
    assert_embeds(teacher, noise_faces(3))
    assert "one of raw 0..255" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": ("N", 3, 16, 16)}, "112, 112"),
        ({"shape": ("N", 3, "H", "W")}, "112, 112"),
        ({"shape": ("N", 3, 96, 112)}, "112, 112"),
        ({"shape": ("N", 3, 128, 128)}, "112, 112"),
        ({"outputs": 2}, "2 outputs that can be the embedding: 'embedding' .width 8., 'flat' .width 3."),
        ({"baked": 5}, "no output is a float .images, width. embedding"),
    ],
)
def test_unsuitable_graph_is_rejected(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load_teacher(write_graph(tmp_path / "odd.onnx", **options))


def test_truncated_graph_is_a_value_error(tmp_path):
    content = write_graph(tmp_path / "whole.onnx").read_bytes()
    for length in (0, 10, len(content) // 2):
        (tmp_path / "truncated.onnx").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"truncated\.onnx"):
            load_teacher(tmp_path / "truncated.onnx")


def test_teacher_pickles_as_its_path(tmp_path, noise_faces):
    teacher = load_teacher(write_graph(tmp_path / "t.onnx"))
    images_NHWC = noise_faces(2)
    assert np.array_equal(pickle.loads(pickle.dumps(teacher)).embed(images_NHWC), teacher.embed(images_NHWC))


def test_output_has_no_gradient(tmp_path):
    teacher = load_teacher(write_graph(tmp_path / "t.onnx"))
    assert not teacher.embed_inputs(torch.zeros(2, 3, 112, 112, requires_grad=True)).requires_grad


def test_missing_extra_error_gives_the_install_command(tmp_path, monkeypatch):
    path = write_graph(tmp_path / "t.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"pip install aird_plugin\[onnx\]"):
        load_teacher(path)
    assert "[onnx]" in onnx_file.MISSING_EXTRA


def test_cuda_without_a_cuda_onnxruntime_warns(tmp_path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.warns(UserWarning, match="has no CUDA"):
        assert load_teacher(write_graph(tmp_path / "t.onnx"), device="cuda").dim == 8


def with_external_weights(path, location):
    """The graph with its matrix in an external file whose location is then replaced."""
    write_graph(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = str(location)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_in_the_folder_are_read(tmp_path, noise_faces):
    images_NHWC = noise_faces(2)
    teacher = load_teacher(with_external_weights(tmp_path / "a.onnx", "weights.bin"))
    assert_embeds(teacher, images_NHWC)


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/hostname", "inner/../../weights.bin", "link/weights.bin"])
def test_external_weights_outside_the_folder_are_rejected(tmp_path, location):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path)
    path = with_external_weights(tmp_path / "models" / "a.onnx", location)
    (tmp_path / "weights.bin").write_bytes((tmp_path / "models" / "weights.bin").read_bytes())
    with pytest.raises(ValueError, match="outside its folder; it was not opened"):
        load_teacher(path)


def test_external_constant_in_a_nested_graph_is_rejected(tmp_path):
    write_graph(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    constant = helper.make_tensor("c", TensorProto.FLOAT, [1], [0.0])
    constant.ClearField("float_data")
    constant.data_location = TensorProto.EXTERNAL
    entry = constant.external_data.add()
    entry.key, entry.value = "location", "../secret"
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=constant)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["w"], ["x"], then_branch=inner, else_branch=inner))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="outside its folder"):
        load_teacher(tmp_path / "a.onnx")


def test_external_weights_belong_to_the_hash(tmp_path):
    """A bank of other external weights under the same graph passed for that of this teacher."""
    path = with_external_weights(tmp_path / "a.onnx", "weights.bin")
    before = load_teacher(path)
    weights = np.frombuffer((tmp_path / "weights.bin").read_bytes(), np.float32)
    (tmp_path / "weights.bin").write_bytes((2 * weights + 1).tobytes())
    after = load_teacher(path)
    assert before.sha256 != after.sha256 and before.describe()["sha256"] != after.describe()["sha256"]
    assert load_teacher(write_graph(tmp_path / "b.onnx")).sha256 == file_sha256(tmp_path / "b.onnx")


def test_missing_external_weights_are_named(tmp_path):
    path = with_external_weights(tmp_path / "a.onnx", "weights.bin")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ValueError, match="a.onnx has its weights in 'weights.bin', which is not in its folder; copy both files"):
        load_teacher(path)


def test_a_graph_in_training_mode_is_rejected(tmp_path):
    """Its embedding of an image depended on the images beside it."""
    write_graph(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx")
    three = {name: np.ones(3, np.float32) for name in ("g", "b", "mu", "var")}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in three.items())
    node = helper.make_node("BatchNormalization", ["data", *three], ["normal", "m2", "v2"], training_mode=1)
    model.graph.node[0].input[0] = "normal"
    model.graph.node.insert(0, node)
    model.opset_import[0].version = 15
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"was exported in training mode: .*export it again after model.eval\(\)"):
        load_teacher(tmp_path / "a.onnx")
