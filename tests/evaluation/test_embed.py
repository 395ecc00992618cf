import re

import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.data.lowres import to_input
from aird_plugin.evaluation.degraded_faces import DegradedFaces
from aird_plugin.evaluation.embed import CPU_BATCH, CPU_BATCH_112, blocks_of_rows, embed, embed_frozen, embed_sums, frozen_batch
from aird_plugin.evaluation.sides import as_network_input
from aird_plugin.utils.vectors import normalise
from tests.exact import rounding
from tests.skips import needs

# Tolerance of unit vectors from a linear layer over 196 values, added in any order.
UNIT = rounding(196)


class Small(nn.Module):
    """A 16 px network, neither symmetric nor normalised, that records its inputs."""

    input_size = 16

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(196, 6))
        self.inputs = []

    def forward(self, x):
        self.inputs.append(x)
        return self.layers(x)


class ArrayModel:
    """Has a teacher's `embed`: arrays in, arrays out."""

    def __init__(self, network):
        self.network = network.eval()

    def embed(self, images_NHWC):
        with torch.no_grad():
            return self.network(to_input(torch.from_numpy(images_NHWC))).numpy()


def slow_embed(network, images, flip=True):
    """One image at a time."""
    rows = []
    for image in images:
        views = [image, image[:, ::-1].copy()] if flip else [image]
        total = sum(network(to_input(torch.from_numpy(view[None])))[0] for view in views).double()
        rows.append((total / total.norm()).tolist())
    return np.array(rows)


@pytest.mark.parametrize("flip", [True, False])
def test_embedding_is_the_normalised_sum_of_both_flips(noise_faces, flip):
    images, network = noise_faces(7, 16), Small().eval()
    with torch.no_grad():
        slow = slow_embed(network, images, flip)
    for model in (network, ArrayModel(network)):
        fast = embed(model, images, batch=3, flip=flip)
        assert fast.dtype == np.float32 and fast.shape == (7, 6)
        np.testing.assert_allclose(fast, slow, atol=UNIT)


def test_rows_keep_the_order_of_the_images(noise_faces):
    images, network = noise_faces(10, 16), Small()
    expected = embed(network, images)
    for batch, order in ((1, None), (4, None), (4, 0), (10, 1), (100, 2)):
        np.testing.assert_allclose(embed(network, images, batch, order), expected, atol=UNIT)


def test_seed_shuffles_the_images_and_keeps_flips_together(noise_faces):
    images, network = noise_faces(8, 16), Small()
    embed(network, images, batch=4, order=3)
    assert [len(x) for x in network.inputs] == [8, 8]
    for x in network.inputs:
        assert torch.equal(x[4:], x[:4].flip(3))
        assert x.is_contiguous(memory_format=torch.channels_last)
    shuffled = torch.cat([x[:4] for x in network.inputs])
    inputs = to_input(torch.from_numpy(images))
    assert not torch.equal(shuffled, inputs)
    assert torch.equal(shuffled.sum((1, 2, 3)).sort().values, inputs.sum((1, 2, 3)).sort().values)


def test_network_runs_in_eval_mode_and_its_modes_are_restored(noise_faces):
    images, network = noise_faces(4, 16), Small().train()
    network.layers[1].eval()
    modes = [module.training for module in network.modules()]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    first = embed(network, images)
    assert np.array_equal(embed(network, images), first)  # dropout is off
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_blocks_are_of_nearly_equal_size():
    sizes = [len(rows) for rows in blocks_of_rows(100, 33)]
    assert sizes == [25, 25, 25, 25]
    assert sorted(np.concatenate(blocks_of_rows(100, 33, order=5))) == list(range(100))


class OutOfMemory(Small):
    """Raises OutOfMemoryError for more than `most` inputs."""

    def __init__(self, most):
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("too many")
        return self.layers(x)


def embed_as_on_gpu(monkeypatch, network, images, **options):
    """`embed_frozen` with the batch of a GPU, computed on the CPU."""
    monkeypatch.setattr("aird_plugin.evaluation.embed.frozen_batch", lambda images, device: len(images))
    return embed_frozen(network, images, **options)


def test_batch_that_does_not_fit_is_halved(noise_faces, monkeypatch):
    """20 images are 40 inputs with both flips; ten inputs fit, which are five images."""
    images, network = noise_faces(20, 16), OutOfMemory(10)
    for embed_fn in (embed, embed_sums):
        network.sizes.clear()
        np.testing.assert_allclose(
            embed_as_on_gpu(monkeypatch, network, images, embed_fn=embed_fn), embed_fn(Small(), images), atol=UNIT
        )
        assert network.sizes == [40, 20, 10, 10, 10, 10]
    with pytest.raises(torch.OutOfMemoryError):
        embed_as_on_gpu(monkeypatch, OutOfMemory(1), images)
    embed_as_on_gpu(monkeypatch, OutOfMemory(1), images, flip=False)


@pytest.mark.parametrize("device, side, first", [("cpu", 16, CPU_BATCH), ("cpu", 112, CPU_BATCH_112), ("cuda:0", 112, 300)])
def test_batch_of_a_frozen_network_depends_on_the_device(device, side, first):
    images = np.zeros((300, side, side, 3), np.uint8)
    assert frozen_batch(images, torch.device(device)) == first
    assert frozen_batch(images[:0], torch.device("cuda")) == 1
    assert frozen_batch(images[:1].repeat(5000, 0), torch.device("cuda")) == 1024


@pytest.mark.parametrize(
    "px, side, name", [(16, 112, "bicubic"), (16, 16, "noise"), (8, 16, "insightface-warp"), (112, 112, "bicubic")]
)
def test_degraded_faces_equal_the_network_inputs(noise_faces, monkeypatch, px, side, name):
    monkeypatch.setattr("aird_plugin.evaluation.degraded_faces.BLOCK", 2)
    images, requested = noise_faces(6), np.array([5, 1, 5, 0, 3])
    degraded, expected = DegradedFaces(images, requested, px, side, name), as_network_input(images[requested], px, side, name)
    assert (len(degraded), degraded.shape, degraded.dtype) == (5, expected.shape, expected.dtype)
    for rows in (slice(None), slice(2, 4), np.array([4, 0, 0])):
        assert np.array_equal(degraded[rows], expected[rows])


@pytest.mark.parametrize(
    "images, batch, message",
    [
        (np.zeros((2, 112, 112, 3), np.uint8), 4, "takes images of 16 px, got 112 px: low_faces(faces, 16, grow=False)"),
        (np.zeros((2, 16, 16, 3), np.float32), 4, "uint8"),
        (np.zeros((2, 16, 16), np.uint8), 4, "uint8"),
        (np.zeros((0, 16, 16, 3), np.uint8), 4, "got 0 images"),
        (np.zeros((2, 16, 16, 3), np.uint8), 0, "a batch of 0"),
    ],
)
def test_invalid_images_are_rejected(images, batch, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        embed(Small(), images, batch)


def test_onnx_file_is_opened(noise_faces, tmp_path):
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
    images = noise_faces(3)
    x = images.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
    small = [view.reshape(3, 3, 28, 4, 28, 4).mean((3, 5)).reshape(3, -1) for view in (x, x[..., ::-1])]
    summed = sum(view @ weight for view in small)
    np.testing.assert_allclose(embed(path, images, batch=2), normalise(summed), atol=1e-5)
