import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.data.lowres import to_input
from aird_plugin.evaluation.embed import (
    CPU_BATCH,
    CPU_BATCH_112,
    blocks_of_rows,
    embed,
    embed_frozen,
    embed_sums,
    frozen_batch,
    normalise,
)
from aird_plugin.evaluation.protocol import as_seen
from aird_plugin.evaluation.seen import SeenFaces
from tests.exact import rounding
from tests.skips import needs

# Unit vectors from a linear layer over 196 numbers, in whatever order they are added.
UNIT = rounding(196)


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
        np.testing.assert_allclose(fast, slow, atol=UNIT)


def test_results_come_in_file_order_whatever_the_order_of_batches(noise_faces):
    faces, network = noise_faces(10, 16), Small()
    expected = embed(network, faces)
    for batch, order in ((1, None), (4, None), (4, 0), (10, 1), (100, 2)):
        np.testing.assert_allclose(embed(network, faces, batch, order), expected, atol=UNIT)


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


class Cramped(Small):
    """As if more than so many inputs did not fit into a GPU."""

    def __init__(self, most):
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("too many")
        return self.layers(x)


def on_a_small_gpu(monkeypatch, network, faces, **options):
    """`embed_frozen` as on a GPU, computed on the CPU."""
    monkeypatch.setattr("aird_plugin.evaluation.embed.frozen_batch", lambda faces, device: len(faces))
    return embed_frozen(network, faces, **options)


def test_a_batch_that_does_not_fit_is_halved(noise_faces, monkeypatch):
    """20 faces are 40 inputs with their mirrored selves; ten inputs fit, which are five faces."""
    faces, network = noise_faces(20, 16), Cramped(10)
    for how in (embed, embed_sums):
        network.sizes.clear()
        np.testing.assert_allclose(on_a_small_gpu(monkeypatch, network, faces, how=how), how(Small(), faces), atol=UNIT)
        assert network.sizes == [40, 20, 10, 10, 10, 10]
    with pytest.raises(torch.OutOfMemoryError):
        on_a_small_gpu(monkeypatch, Cramped(1), faces)
    on_a_small_gpu(monkeypatch, Cramped(1), faces, flip=False)


@pytest.mark.parametrize("device, side, first", [("cpu", 16, CPU_BATCH), ("cpu", 112, CPU_BATCH_112), ("cuda:0", 112, 300)])
def test_the_batch_of_a_frozen_network_suits_the_device(device, side, first):
    faces = np.zeros((300, side, side, 3), np.uint8)
    assert frozen_batch(faces, torch.device(device)) == first
    assert frozen_batch(faces[:0], torch.device("cuda")) == 1
    assert frozen_batch(faces[:1].repeat(5000, 0), torch.device("cuda")) == 1024


@pytest.mark.parametrize(
    "px, side, name", [(16, 112, "bicubic"), (16, 16, "noise"), (8, 16, "insightface-warp"), (112, 112, "bicubic")]
)
def test_faces_made_batch_by_batch_are_those_made_at_once(noise_faces, monkeypatch, px, side, name):
    monkeypatch.setattr("aird_plugin.evaluation.seen.BLOCK", 2)
    faces, asked_for = noise_faces(6), np.array([5, 1, 5, 0, 3])
    seen, expected = SeenFaces(faces, asked_for, px, side, name), as_seen(faces[asked_for], px, side, name)
    assert (len(seen), seen.shape, seen.dtype) == (5, expected.shape, expected.dtype)
    for rows in (slice(None), slice(2, 4), np.array([4, 0, 0])):
        assert np.array_equal(seen[rows], expected[rows])


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
    onnx = needs("onnx")
    needs("onnxruntime")
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
