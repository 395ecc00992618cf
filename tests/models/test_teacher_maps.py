"""A teacher's maps over a student's: the right ones, of the right faces, at the right place in the face."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.data.lowres import to_input
from aird_plugin.models import build
from aird_plugin.models.fold import fold_batchnorms
from aird_plugin.models.maps import recorded_maps, stages_of
from aird_plugin.models.teacher import TorchTeacher
from aird_plugin.models.teacher_maps import TeacherMaps, average_cells, cell_shares, columns_of
from tests.exact import rounding


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Random mfn and native112 teachers whose BatchNorms have statistics of their own."""
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
def test_a_folded_copy_gives_the_maps_that_hooks_catch(name):
    torch.manual_seed(0)
    network = build(name, 8)
    with torch.no_grad():
        network.train()(torch.randn(4, 3, 112, 112))
        network.eval()
        faces_B3HW = torch.randn(2, 3, 112, 112)
        with recorded_maps(network) as wanted:
            embeddings_BD = network(faces_B3HW)
        found_BD, found = fold_batchnorms(network, stages_of(network))(faces_B3HW)
    # The longest sum is over 25,088 numbers, iresnet's last layer.
    torch.testing.assert_close(found_BD, embeddings_BD, rtol=0, atol=rounding(25_088, embeddings_BD.abs().max().item()))
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * other.abs().max().item())


@pytest.mark.parametrize("count", [1, 16, 35])
def test_embeddings_and_maps_of_any_number_of_faces(teachers, noise_faces, count):
    """The embeddings are `embed`'s; each face's maps are those it has alone."""
    teacher, student = teachers["mfn"], build("native16_0.05m", 8)
    maps_of, faces = TeacherMaps(teacher, student), noise_faces(count)
    embeddings_BD, maps = maps_of(torch.from_numpy(faces))
    torch.testing.assert_close(embeddings_BD, torch.from_numpy(teacher.embed(faces)), rtol=1e-4, atol=1e-5)
    assert [tuple(m.shape) for m in maps] == [(count, 64, 16, 16), (count, 128, 8, 8), (count, 512, 4, 4)]
    assert maps_of.student_channels == tuple(stage[0][0].out_channels for stage in student.stages)
    assert maps_of.teacher_channels == (64, 128, 512)
    with torch.no_grad(), recorded_maps(teacher.net) as whole:
        teacher.net(to_input(torch.from_numpy(faces[-1:])))
    for one, other in zip(maps, maps_of.lay(whole), strict=True):
        assert not one.requires_grad and not one.is_inference()
        torch.testing.assert_close(one[-1:], other, rtol=1e-4, atol=1e-4)


def test_maps_of_equal_side_are_taken_as_they_are(teachers):
    teacher = teachers["native112_0.05m"]
    maps_of = TeacherMaps(teacher, build("native112_0.02m", 8))
    faces = torch.from_numpy(np.full((1, 112, 112, 3), 90, np.uint8))
    _, maps = maps_of(faces)
    with torch.no_grad(), recorded_maps(teacher.net) as whole:
        teacher.net(to_input(faces))
    assert maps_of.partners == [0, 1, 2, 3, 4]
    for one, other in zip(maps, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("student", "partners"), [
    ("native8_0.05m", [2, 3]), ("native16_0.05m", [1, 2, 3]), ("native32_0.05m", [0, 1, 2, 3]), ("r18", [0, 1, 2, 3]),
    ("native112_0.05m", [0, 1, 2, 3, 3]),
])  # fmt: skip
def test_which_maps_are_paired(teachers, student, partners):
    assert TeacherMaps(teachers["mfn"], build(student, 8)).partners == partners


def test_averaging_is_adaptive_pooling_where_sides_divide():
    map_BCHW = torch.randn(2, 3, 28, 14).to(memory_format=torch.channels_last)
    found = average_cells(map_BCHW, cell_shares(7, 28), cell_shares(7, 14))
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(map_BCHW, 7))
    torch.testing.assert_close(average_cells(map_BCHW, cell_shares(28, 28), cell_shares(14, 14)), map_BCHW)


def test_strips_that_are_cut_count_in_part():
    """Seven strips in four cells: the first cell is the first strip and three quarters of the second."""
    torch.testing.assert_close(cell_shares(4, 7)[0], torch.tensor([4, 3, 0, 0, 0, 0, 0]) / 7)
    torch.testing.assert_close(cell_shares(4, 7).sum(1), torch.ones(4))


def test_a_cropping_teacher_is_laid_where_it_looked():
    """`mfn` sees columns 8 to 104, its 6 strips begin at 8, 24, ...: a cell of 28 px is the first strip, drawn out to the border,
    and 4 px of the second."""
    seen = columns_of(SimpleNamespace(columns=slice(8, 104), input_size=112))
    assert columns_of(build("native16_0.05m", 8)) == (0, 1)
    shares = cell_shares(4, 6, seen)
    torch.testing.assert_close(shares[0], torch.tensor([24, 4, 0, 0, 0, 0]) / 28)
    torch.testing.assert_close(shares[3], torch.tensor([0, 0, 0, 0, 4, 24]) / 28)
    narrow = cell_shares(16, 48, seen)
    assert (narrow.sum(1) - 1).abs().max() < 1e-6 and narrow[0, 0] == 1
    # And the other way round: a student that crops gets only what it sees.
    torch.testing.assert_close(cell_shares(6, 7, wanted=seen)[0], torch.tensor([8, 8, 0, 0, 0, 0, 0]) / 16)


def test_a_bright_spot_is_found_in_the_same_cell(teachers):
    """End to end: the teacher's map differs most where the face was changed."""
    maps_of = TeacherMaps(teachers["mfn"], build("native16_0.05m", 8))
    faces = np.full((2, 112, 112, 3), 90, np.uint8)
    faces[1, 30:33, 79:82] = 255
    _, (shallow, *_) = maps_of(torch.from_numpy(faces))
    change_PQ = (shallow[1] - shallow[0]).abs().sum(0)
    row, column = divmod(int(change_PQ.argmax()), 16)
    assert abs(row - 31 * 16 / 112) <= 1 and abs(column - 80 * 16 / 112) <= 1


def test_an_onnx_teacher_is_refused_with_the_remedy():
    teacher = SimpleNamespace(kind="onnx", path="w600k_r50.onnx")
    with pytest.raises(ValueError, match=r"w600k_r50.onnx is an ONNX graph.*set teacher=FILE.pt"):
        TeacherMaps(teacher, build("native16_0.05m", 8))


def test_a_student_with_a_larger_map_is_refused(teachers):
    class Grown(nn.Module):
        """A student whose only stage grows its face."""

        input_size, stage_names = 16, ("stages.0",)

        def __init__(self):
            super().__init__()
            self.stages = nn.Sequential(nn.ConvTranspose2d(3, 4, 4, stride=4))

        def forward(self, x_B3HW):
            return self.stages(x_B3HW).mean((2, 3))

    with pytest.raises(ValueError, match=r"map of side 64, larger than the teacher's \(56, 28, 14, 7\)"):
        TeacherMaps(teachers["mfn"], Grown())
