import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.data.lowres import to_input
from aird_plugin.evaluation.embed import blocks_of_rows, embed, normalise


class Small(nn.Module):
    """A network of 16 px faces that is neither symmetric nor normalised, and remembers what it saw."""

    input_size = 16

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(196, 6)
        )
        self.seen = []

    def forward(self, x):
        self.seen.append(x)
        return self.layers(x)


class Duck:
    """What a Teacher is to `embed`: arrays in, arrays out."""

    def __init__(self, network):
        self.network = network.eval()

    def embed(self, faces_NHWC):
        with torch.no_grad():
            return self.network(to_input(torch.from_numpy(faces_NHWC))).numpy()


def slow_embed(network, faces, flip=True):
    """One face at a time."""
    rows = []
    for face in faces:
        views = [face, face[:, ::-1].copy()] if flip else [face]
        total = sum(network(to_input(torch.from_numpy(view[None])))[0] for view in views).double()
        rows.append((total / total.norm()).tolist())
    return np.array(rows)


@pytest.mark.parametrize("flip", [True, False])
def test_embedding_is_the_normalised_sum_of_both_flips(noise_faces, flip):
    faces, network = noise_faces(7, 16), Small().eval()
    with torch.no_grad():
        slow = slow_embed(network, faces, flip)
    for model in (network, Duck(network)):
        fast = embed(model, faces, batch=3, flip=flip)
        assert fast.dtype == np.float32 and fast.shape == (7, 6)
        np.testing.assert_allclose(fast, slow, atol=1e-6)


def test_results_come_in_file_order_whatever_the_order_of_batches(noise_faces):
    faces, network = noise_faces(10, 16), Small()
    expected = embed(network, faces)
    for batch, order in ((1, None), (4, None), (4, 0), (10, 1), (100, 2)):
        np.testing.assert_allclose(embed(network, faces, batch, order), expected, atol=1e-6)


def test_a_seed_shuffles_the_faces_over_batches_and_flips_stay_together(noise_faces):
    faces, network = noise_faces(8, 16), Small()
    embed(network, faces, batch=4, order=3)
    assert [len(x) for x in network.seen] == [8, 8]
    for x in network.seen:
        assert torch.equal(x[4:], x[:4].flip(3))
        assert x.is_contiguous(memory_format=torch.channels_last)
    shuffled = torch.cat([x[:4] for x in network.seen])
    inputs = to_input(torch.from_numpy(faces))
    assert not torch.equal(shuffled, inputs)
    assert torch.equal(shuffled.sum((1, 2, 3)).sort().values, inputs.sum((1, 2, 3)).sort().values)


def test_the_network_runs_in_eval_mode_and_gets_its_own_modes_back(noise_faces):
    faces, network = noise_faces(4, 16), Small().train()
    network.layers[1].eval()
    modes = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    first = embed(network, faces)
    assert np.array_equal(embed(network, faces), first)  # dropout is off
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_blocks_are_of_nearly_equal_size():
    sizes = [len(rows) for rows in blocks_of_rows(100, 33)]
    assert sizes == [25, 25, 25, 25]
    assert sorted(np.concatenate(blocks_of_rows(100, 33, order=5))) == list(range(100))


def test_an_embedding_of_length_zero_stays_zero():
    assert normalise(np.array([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0, 0], [0.6, 0.8]]


@pytest.mark.parametrize(
    "faces, batch, message",
    [
        (np.zeros((2, 112, 112, 3), np.uint8), 4, "takes faces of 16 px, got 112 px"),
        (np.zeros((2, 16, 16, 3), np.float32), 4, "uint8"),
        (np.zeros((2, 16, 16), np.uint8), 4, "uint8"),
        (np.zeros((0, 16, 16, 3), np.uint8), 4, "got 0 faces"),
        (np.zeros((2, 16, 16, 3), np.uint8), 0, "a batch of 0"),
    ],
)
def test_faces_that_do_not_fit_are_refused(faces, batch, message):
    with pytest.raises(ValueError, match=message):
        embed(Small(), faces, batch)


def test_an_onnx_file_is_opened(noise_faces, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = np.random.default_rng(0).normal(size=(3 * 28 * 28, 5)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["x"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Flatten", ["small"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["e"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", kind, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info("e", kind, ["batch", 5])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    faces = noise_faces(3)
    x = faces.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    small = [view.reshape(3, 3, 28, 4, 28, 4).mean((3, 5)).reshape(3, -1) for view in (x, x[..., ::-1])]
    summed = sum(view @ weight for view in small)
    np.testing.assert_allclose(embed(path, faces, batch=2), normalise(summed), atol=1e-5)
