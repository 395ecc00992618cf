"""Weights of other repositories: their keys, the networks that they name, wrappers, and formats that cannot be read.

The networks equal AdaFace's and InsightFace_Pytorch's own to the last bit on random weights (docs/benchmarks/teachers.md).
"""

import pytest
import torch

from aird_plugin.models import build
from aird_plugin.models.file_formats import save_safetensors
from aird_plugin.models.find import find_model
from aird_plugin.models.from_weights import detect_network, embedding_width
from aird_plugin.models.ir import LINEAR_KEY
from aird_plugin.models.load import load_initial_weights, load_model, load_teacher
from aird_plugin.models.registry import NETWORKS, OTHERS, detect
from aird_plugin.models.weights import load_weights
from tests.skips import needs

# Keys as their repositories write them: present, absent.
KEYS = {
    "ir50": (["body.23.res_layer.4.running_var", "output_layer.4.weight"], ["body.0.res_layer.5.fc1.weight", "body.24."]),
    "ir_se50": (["body.23.res_layer.5.fc2.weight", "output_layer.4.weight"], ["body.0.res_layer.2.running_mean"]),
    "adaface_ir101": (["body.48.res_layer.5.running_var", "body.0.res_layer.3.weight"], ["output_layer.4.weight", "body.49."]),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_network_is_known_by_its_keys(name):
    with torch.device("meta"):
        state = build(name, 256).state_dict()
    assert detect(state) == name and embedding_width(state) == 256
    present, absent = KEYS.get(name, ([], []))
    assert all(key in state for key in present) and not [key for key in state for part in absent if key.startswith(part)]


@pytest.mark.parametrize("name", [*NETWORKS, "native16_0.05m", "native16_0.2m_dw", "native112_0.05m_prelu"])
def test_the_width_does_not_depend_on_the_order_of_keys(name):
    """A .safetensors file is sorted by key."""
    with torch.device("meta"):
        state = build(name, 24).state_dict()
    assert embedding_width(dict(sorted(state.items()))) == embedding_width(state) == 24


def test_the_first_stage_subsamples_without_weights():
    """As in their repositories; arcface_torch has a convolution there."""
    with torch.device("meta"):
        state = build("ir50").state_dict()
    shortcuts = [key.split(".")[1] for key in state if key.endswith("shortcut_layer.0.weight")]
    assert shortcuts == ["3", "7", "21"] and state[LINEAR_KEY].shape == (512, 512 * 49)


def test_squeeze_and_excitation_by_hand():
    from aird_plugin.models.ir import SqueezeExcitation

    module = SqueezeExcitation(16)
    module.fc1.weight.data.fill_(0.5)
    module.fc2.weight.data.copy_(torch.arange(16.0).view(16, 1, 1, 1))
    x = torch.randn(2, 16, 3, 3)
    mean = x.mean((2, 3))
    weight = torch.sigmoid(torch.relu(0.5 * mean.sum(1, keepdim=True)) * torch.arange(16.0))
    torch.testing.assert_close(module(x), x * weight[:, :, None, None])


def test_lightning_checkpoint_and_prefixes_give_the_network(state, tmp_path):
    """`head.kernel` and hyperparameters are not the network's."""
    wrappings = {
        "lightning.ckpt": {
            "state_dict": {f"model.{key}": value for key, value in state.items()} | {"head.kernel": torch.randn(32, 5)},
            "hyper_parameters": {"lr": 0.1},
        },
        "net.pt": {f"net.{key}": value for key, value in state.items()},
        "backbone.pth": {f"module.backbone.{key}": value for key, value in state.items()},
        "nested.pt": {f"model.net.{key}": value for key, value in state.items()},
    }
    for name, content in wrappings.items():
        torch.save(content, tmp_path / name)
        loaded = load_weights(tmp_path / name)
        assert list(loaded) == list(state) and all(torch.equal(loaded[key], state[key]) for key in state), name
    assert load_teacher(tmp_path / "lightning.ckpt").dim == 32
    assert load_initial_weights(tmp_path / "net.pt", "mfn").keys() == state.keys()


def test_safetensors_are_read_and_written(state, tmp_path):
    needs("safetensors")
    save_safetensors(tmp_path / "model.safetensors", state)
    loaded = load_weights(tmp_path / "model.safetensors")
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)
    assert load_model(tmp_path / "model.safetensors").input_size == 112
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"torn.safetensors is not a readable .safetensors file \(corrupt or truncated\?\)"):
        load_weights(tmp_path / "torn.safetensors")


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("model-0000.params", "got '.params', which is MXNet's; its exporter mxnet.onnx.export_model"),
        ("model.caffemodel", "which is Caffe's"),
        ("model.H5", "which is Keras's; `python -m tf2onnx.convert --keras FILE"),
        ("model.tflite", "which is TensorFlow Lite's; `python -m tf2onnx.convert --tflite FILE"),
        ("model.pb", "which is TensorFlow's; `python -m tf2onnx.convert`"),
        ("model.engine", "which is a TensorRT engine, .* give the .onnx it was built from"),
        ("model.mnn", "which is a file of a mobile runtime, .* give the .onnx it was made from"),
        ("model.xyz", r"got '.xyz'$"),
    ],
)
def test_other_formats_are_named(name, about, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=about):
        find_model(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_named(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "model.pt")
    with pytest.raises(ValueError, match="model.pt is a TorchScript program, not weights: save its weights"):
        load_weights(tmp_path / "model.pt")


def test_whole_pickled_module_is_refused_with_what_to_save(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"it would run torch.nn.modules.linear.Linear while .*weights_only=False\).state_dict"):
        load_weights(tmp_path / "model.pth")


def test_tensors_that_share_memory_are_written_each(tmp_path):
    needs("safetensors")
    shared = torch.arange(6.0)
    save_safetensors(tmp_path / "a.safetensors", {"one": shared, "other": shared, "part": shared[2:4]})
    loaded = load_weights(tmp_path / "a.safetensors")
    assert torch.equal(loaded["other"], shared) and loaded["part"].tolist() == [2, 3]


def test_other_depths_are_refused_with_their_blocks():
    with torch.device("meta"):
        state = build("ir50").state_dict()
    other = {key: value for key, value in state.items() if not key.startswith("body.23.")}
    with pytest.raises(ValueError, match=r"with \[3, 4, 14, 2\] blocks of style .*supported are ir50, ir101"):
        detect_network(other)
