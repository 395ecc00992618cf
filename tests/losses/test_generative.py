"""Generative regression against its own loop; the adapter; sides and shapes that do not fit."""

from types import SimpleNamespace

import pytest
import torch

from aird_plugin.losses.generative import Generative, generative_loss
from aird_plugin.objective import Objective, Sizes


def slow_loss(student, teacher):
    """GDRD's L_gen by its words: the mean over faces of |S - T|^2, that being a mean over the map."""
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        total = total + sum((a - b) ** 2 for a, b in zip(s.flatten(), t.flatten(), strict=True)) / s.numel()
    return total / len(student)


def maps(*shape, seed=0, grad=False):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_(grad)


def test_value_and_gradient_equal_the_loop():
    student, teacher = maps(3, 2, 4, 4, grad=True), maps(3, 2, 4, 4, seed=1)
    fast, slow = generative_loss(student, teacher), slow_loss(student, teacher)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (fast, slow)))
    assert torch.autograd.gradcheck(lambda x: generative_loss(x, teacher), (student,))


def test_by_hand():
    ones = torch.ones(2, 3, 4, 4)
    assert generative_loss(ones, ones).item() == 0
    assert generative_loss(3 * ones, ones).item() == pytest.approx(4)
    assert generative_loss(torch.zeros(2, 3, 4, 4), ones).item() == pytest.approx(1)


def test_a_constant_guess_of_standardised_features_costs_one():
    teacher = maps(64, 5, 4, 4)
    teacher = (teacher - teacher.mean((0, 2, 3), keepdim=True)) / teacher.std((0, 2, 3), correction=0, keepdim=True)
    assert generative_loss(torch.zeros_like(teacher), teacher).item() == pytest.approx(1)


@pytest.mark.parametrize(("student", "teacher"), [((8, 8), (4, 4)), ((4, 4), (8, 8)), ((8, 4), (4, 8))])
def test_the_finer_map_is_averaged(student, teacher):
    """A map of constant rows is its own average, and a checkerboard averages to nothing."""
    flat = generative_loss(torch.full((1, 2, *student), 2.0), torch.full((1, 2, *teacher), 5.0))
    assert flat.item() == pytest.approx(9)
    if student == (8, 8):
        board = 7.0 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2 - 1)
        assert generative_loss(board.expand(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)).item() == pytest.approx(0, abs=1e-10)


def test_no_gradient_reaches_the_prior():
    student, teacher = maps(2, 3, 2, 2, grad=True), maps(2, 3, 2, 2, seed=1, grad=True)
    generative_loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_half_precision_is_counted_in_float32():
    """300 squared is beyond float16."""
    found = generative_loss(torch.full((1, 2, 2, 2), 300.0).half(), torch.zeros(1, 2, 2, 2).half())
    assert found.dtype == torch.float32 and found.item() == pytest.approx(90000)


@pytest.mark.parametrize(("student", "teacher"), [((2, 3, 4, 4), (2, 5, 4, 4)), ((2, 3, 4, 4), (1, 3, 4, 4))])
def test_maps_of_other_faces_or_channels_are_refused(student, teacher):
    """Broadcasting would otherwise compare one face with all."""
    with pytest.raises(ValueError, match="as many faces and channels: student"):
        generative_loss(torch.zeros(student), torch.zeros(teacher))


def test_the_term_looks_at_the_last_map_through_its_adapter():
    objective = Objective({"gen": Generative()}, Sizes(4, student_channels=(7, 3), generative_channels=5))
    assert objective.needs == {"generative"}
    term = objective.terms["gen"]
    assert [p.shape for p in term.parameters()] == [(5, 3, 1, 1), (5,)]
    trunk, prior = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    views = SimpleNamespace(student_maps=(torch.randn(2, 7, 8, 8), trunk), generative_BCHW=prior)
    adapted = torch.einsum("oc,bchw->bohw", term.weight[:, :, 0, 0], trunk) + term.bias[:, None, None]
    torch.testing.assert_close(term(views), generative_loss(adapted, prior))
    term(views).backward()
    assert all(p.grad.abs().sum() > 0 for p in term.parameters())
    again = Objective({"gen": Generative()}, Sizes(4, student_channels=(7, 3), generative_channels=5)).terms["gen"]
    torch.testing.assert_close(again.weight, term.weight)


def test_one_face_will_do():
    assert torch.isfinite(generative_loss(torch.randn(1, 2, 1, 1), torch.randn(1, 2, 1, 1)))


def test_two_ranks_parts_average_to_the_whole():
    """A loss by the face: the mean of two ranks' losses, which is what DDP and `average_gradients` make, is the whole one's."""
    student, teacher = maps(4, 2, 3, 3, grad=True), maps(4, 2, 3, 3, seed=1)
    whole = generative_loss(student, teacher)
    parts = (generative_loss(student[:2], teacher[:2]) + generative_loss(student[2:], teacher[2:])) / 2
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (parts, whole)))
