"""Teacher feature maps resampled to a student's: pairing, batching, and spatial alignment."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.data.lowres import to_input
from aird_plugin.models import build
from aird_plugin.models.feature_maps import recorded_maps, stages_of
from aird_plugin.models.fold import fold_batchnorms
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.teacher_feature_maps import TeacherMaps, average_cells, column_extent, pooling_weights
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.models.torch_teacher import TorchTeacher
from tests.exact import rounding
from tests.models.onnx_files import network, write_network


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Random mfn and native112 teachers with non-default BatchNorm statistics."""
    folder, found = tmp_path_factory.mktemp("teachers"), {}
    for name in ("mfn", "native112_0.05m"):
        torch.manual_seed(0)
        network = build(name, 8)
        network.train()
        with torch.no_grad():
            network(torch.randn(8, 3, 112, 112))
        torch.save(network.state_dict(), folder / f"{name}.pt")
        found[name] = TorchTeacher(folder / f"{name}.pt", name)
    return found


@pytest.mark.parametrize("name", ["r18", "mbf", "mfn", "native112_0.05m"])
def test_folded_copy_outputs_the_recorded_maps(name):
    torch.manual_seed(0)
    network = build(name, 8)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 112, 112))
        network.eval()
        images_B3HW = torch.randn(2, 3, 112, 112)
        with recorded_maps(network) as expected:
            embeddings_BD = network(images_B3HW)
        folded_BD, folded_maps = fold_batchnorms(network, stages_of(network))(images_B3HW)
    # The longest sum has 25,088 terms, in iresnet's last layer.
    torch.testing.assert_close(folded_BD, embeddings_BD, rtol=0, atol=rounding(25_088, embeddings_BD.abs().max().item()))
    assert len(folded_maps) == len(expected)
    for one, other in zip(folded_maps, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * other.abs().max().item())


@pytest.mark.parametrize("count", [1, 16, 35])
def test_embeddings_and_maps_of_any_number_of_images(teachers, noise_faces, count):
    """The embeddings equal `embed`'s; the maps of an image do not depend on its batch."""
    teacher, student = teachers["mfn"], build("native16_0.05m", 8)
    teacher_maps, images_NHWC = TeacherMaps(teacher, student), noise_faces(count)
    embeddings_BD, maps = teacher_maps(torch.from_numpy(images_NHWC))
    torch.testing.assert_close(embeddings_BD, torch.from_numpy(teacher.embed(images_NHWC)), rtol=1e-4, atol=1e-5)
    assert [tuple(m.shape) for m in maps] == [(count, 64, 16, 16), (count, 128, 8, 8), (count, 512, 4, 4)]
    assert teacher_maps.student_channels == tuple(stage[0][0].out_channels for stage in student.stages)
    assert teacher_maps.teacher_channels == (64, 128, 512)
    with torch.no_grad(), recorded_maps(teacher.net) as whole:
        teacher.net(to_input(torch.from_numpy(images_NHWC[-1:])))
    for one, other in zip(maps, teacher_maps.resample(whole), strict=True):
        assert not one.requires_grad and not one.is_inference()
        torch.testing.assert_close(one[-1:], other, rtol=1e-4, atol=1e-4)


def test_columns_of_a_graph_that_crops_are_those_of_its_network(teachers, tmp_path):
    """112x96 of 112x112, cropped inside: its maps beside another network's lay up to 8 columns off."""
    graph = OnnxNetwork(write_network(tmp_path / "mfn.onnx", teachers["mfn"].net)).train()
    state = {name: value.clone() for name, value in graph.state_dict().items()}
    assert column_extent(graph) == column_extent(teachers["mfn"].net) == (8 / 112, 104 / 112)
    assert all(torch.equal(value, state[name]) for name, value in graph.state_dict().items()) and graph.training
    assert all(parameter.grad is None for parameter in graph.parameters())
    plain = OnnxNetwork(write_network(tmp_path / "mbf.onnx", network("mbf")))
    assert column_extent(plain) == (0, 1)
    student = build("native16_0.05m", 8)
    found, expected = (TeacherMaps(one, student) for one in (OnnxTeacher(graph.path), teachers["mfn"]))
    for one, other in zip(found.weights, expected.weights, strict=True):
        assert one[0].shape == other[0].shape and torch.equal(one[1], other[1])


def test_onnx_teacher_and_its_own_student_have_equal_maps(teachers, tmp_path, noise_faces):
    """An .onnx runs as a module, here one that takes BGR: an untrained student has its maps of the HR images."""
    stated = TeacherInput(color="bgr")
    teacher = OnnxTeacher(write_network(tmp_path / "mfn.onnx", teachers["mfn"].net), stated=stated)
    student, images_NHWC = OnnxNetwork(teacher.path, stated), noise_faces(35)
    embeddings_BD, maps = TeacherMaps(teacher, student)(torch.from_numpy(images_NHWC))
    torch.testing.assert_close(embeddings_BD, torch.from_numpy(teacher.embed(images_NHWC)), rtol=1e-4, atol=1e-5)
    with torch.no_grad(), recorded_maps(student) as own:
        student(to_input(torch.from_numpy(images_NHWC)))
    assert [tuple(map_BCHW.shape[2:]) for map_BCHW in maps] == [(56, 48), (28, 24), (14, 12), (7, 6)]
    for one, other in zip(maps, own, strict=True):
        assert not one.requires_grad and not one.is_inference()
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * other.abs().max().item())


def test_maps_of_equal_side_are_unchanged(teachers):
    teacher = teachers["native112_0.05m"]
    teacher_maps = TeacherMaps(teacher, build("native112_0.02m", 8))
    images_BHWC = torch.from_numpy(np.full((1, 112, 112, 3), 90, np.uint8))
    _, maps = teacher_maps(images_BHWC)
    with torch.no_grad(), recorded_maps(teacher.net) as whole:
        teacher.net(to_input(images_BHWC))
    assert teacher_maps.partners == [0, 1, 2, 3, 4]
    for one, other in zip(maps, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("student", "partners"),
    [
        ("native8_0.05m", [2, 3]),
        ("native16_0.05m", [1, 2, 3]),
        ("native32_0.05m", [0, 1, 2, 3]),
        ("r18", [0, 1, 2, 3]),
        ("native112_0.05m", [0, 1, 2, 3, 3]),
    ],
)
def test_map_pairing(teachers, student, partners):
    assert TeacherMaps(teachers["mfn"], build(student, 8)).partners == partners


def test_averaging_equals_adaptive_pooling_where_sides_divide():
    map_BCHW = torch.randn(2, 3, 28, 14).to(memory_format=torch.channels_last)
    averaged = average_cells(map_BCHW, pooling_weights(7, 28), pooling_weights(7, 14))
    torch.testing.assert_close(averaged, F.adaptive_avg_pool2d(map_BCHW, 7))
    torch.testing.assert_close(average_cells(map_BCHW, pooling_weights(28, 28), pooling_weights(14, 14)), map_BCHW)


def test_partial_strips_have_partial_weight():
    """Seven strips in four cells: the first cell covers the first strip and three quarters of the second."""
    torch.testing.assert_close(pooling_weights(4, 7)[0], torch.tensor([4, 3, 0, 0, 0, 0, 0]) / 7)
    torch.testing.assert_close(pooling_weights(4, 7).sum(1), torch.ones(4))


def test_cropping_teacher_is_resampled_at_its_columns():
    """`mfn` uses columns 8 to 104, so its 6 strips begin at 8, 24, ...: a cell of 28 px covers the first strip, extended to the
    border, and 4 px of the second."""
    extent = column_extent(SimpleNamespace(columns=slice(8, 104), input_size=112))
    assert column_extent(build("native16_0.05m", 8)) == (0, 1)
    weights = pooling_weights(4, 6, extent)
    torch.testing.assert_close(weights[0], torch.tensor([24, 4, 0, 0, 0, 0]) / 28)
    torch.testing.assert_close(weights[3], torch.tensor([0, 0, 0, 0, 4, 24]) / 28)
    narrow = pooling_weights(16, 48, extent)
    assert (narrow.sum(1) - 1).abs().max() < 1e-6 and narrow[0, 0] == 1
    # Conversely, a student that crops gets only the columns it uses.
    torch.testing.assert_close(pooling_weights(6, 7, target_extent=extent)[0], torch.tensor([8, 8, 0, 0, 0, 0, 0]) / 16)


def test_bright_spot_appears_in_the_same_cell(teachers):
    """End to end: the teacher map changes most where the image changes."""
    teacher_maps = TeacherMaps(teachers["mfn"], build("native16_0.05m", 8))
    images_NHWC = np.full((2, 112, 112, 3), 90, np.uint8)
    images_NHWC[1, 30:33, 79:82] = 255
    _, (shallow, *_) = teacher_maps(torch.from_numpy(images_NHWC))
    change_PQ = (shallow[1] - shallow[0]).abs().sum(0)
    row, column = divmod(int(change_PQ.argmax()), 16)
    assert abs(row - 31 * 16 / 112) <= 1 and abs(column - 80 * 16 / 112) <= 1


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        (
            SimpleNamespace(kind="low-res", path="a.pt", px=16),
            "teacher a.pt with teacher_px=16 gives embeddings only; set teacher_px=0",
        ),
        (
            SimpleNamespace(kind="ensemble", path="a.pt + b.pt"),
            "teacher a.pt + b.pt is an ensemble, which gives embeddings only; set teacher to one of them",
        ),
    ],
)
def test_teacher_without_feature_maps_is_named_with_its_remedy(teacher, words):
    with pytest.raises(ValueError) as caught:
        TeacherMaps(teacher, build("native16_0.05m", 8))
    assert str(caught.value) == f"this loss compares feature maps, and {words}"


def test_student_with_a_larger_map_is_rejected(teachers):
    class Upsampling(nn.Module):
        """A student whose only stage upsamples its input."""

        input_size, stage_names = 16, ("stages.0",)

        def __init__(self):
            super().__init__()
            self.stages = nn.Sequential(nn.ConvTranspose2d(3, 4, 4, stride=4))

        def forward(self, x_B3HW):
            return self.stages(x_B3HW).mean((2, 3))

    with pytest.raises(ValueError, match=r"map of side 64, larger than the teacher's \(56, 28, 14, 7\)"):
        TeacherMaps(teachers["mfn"], Upsampling())
