"""Generative regression against a naive loop; the adapter; maps of different sizes; invalid shapes."""

from types import SimpleNamespace

import pytest
import torch

from aird_plugin.losses.gdrd import GDRD, gdrd_loss
from aird_plugin.training.objective import LossDims, Objective
from tests.losses.loops import assert_equals_loop


def slow_loss(student, teacher):
    """GDRD's L_gen as printed: the mean over images of |S - T|^2, with |.|^2 a mean over the map."""
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        total = total + sum((a - b) ** 2 for a, b in zip(s.flatten(), t.flatten(), strict=True)) / s.numel()
    return total / len(student)


def maps(*shape, seed=0, grad=False):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_(grad)


def test_value_and_gradient_equal_loop():
    student, teacher = maps(3, 2, 4, 4, grad=True), maps(3, 2, 4, 4, seed=1)
    fast, slow = gdrd_loss(student, teacher), slow_loss(student, teacher)
    assert_equals_loop(fast, slow, student)
    assert torch.autograd.gradcheck(lambda x: gdrd_loss(x, teacher), (student,))


def test_loss_matches_hand_computed_values():
    ones = torch.ones(2, 3, 4, 4)
    assert gdrd_loss(ones, ones).item() == 0
    assert gdrd_loss(3 * ones, ones).item() == pytest.approx(4)
    assert gdrd_loss(torch.zeros(2, 3, 4, 4), ones).item() == pytest.approx(1)


def test_constant_prediction_of_standardised_features_has_loss_one():
    teacher = maps(64, 5, 4, 4)
    teacher = (teacher - teacher.mean((0, 2, 3), keepdim=True)) / teacher.std((0, 2, 3), correction=0, keepdim=True)
    assert gdrd_loss(torch.zeros_like(teacher), teacher).item() == pytest.approx(1)


@pytest.mark.parametrize(("student", "teacher"), [((8, 8), (4, 4)), ((4, 4), (8, 8)), ((8, 4), (4, 8))])
def test_finer_map_is_averaged(student, teacher):
    """A constant map equals its average, and a checkerboard averages to 0."""
    flat = gdrd_loss(torch.full((1, 2, *student), 2.0), torch.full((1, 2, *teacher), 5.0))
    assert flat.item() == pytest.approx(9)
    if student == (8, 8):
        board = 7.0 * ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2 - 1)
        assert gdrd_loss(board.expand(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)).item() == pytest.approx(0, abs=1e-10)


def test_prior_has_no_gradient():
    student, teacher = maps(2, 3, 2, 2, grad=True), maps(2, 3, 2, 2, seed=1, grad=True)
    gdrd_loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_half_precision_is_computed_in_float32():
    """300 squared exceeds the range of float16."""
    loss = gdrd_loss(torch.full((1, 2, 2, 2), 300.0).half(), torch.zeros(1, 2, 2, 2).half())
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(90000)


@pytest.mark.parametrize(("student", "teacher"), [((2, 3, 4, 4), (2, 5, 4, 4)), ((2, 3, 4, 4), (1, 3, 4, 4))])
def test_different_images_or_channels_are_rejected(student, teacher):
    """Broadcasting would otherwise compare one image with all."""
    with pytest.raises(ValueError, match="equal numbers of images and channels; got student"):
        gdrd_loss(torch.zeros(student), torch.zeros(teacher))


def test_term_uses_adapted_last_map():
    objective = Objective({"gen": GDRD()}, LossDims(4, student_channels=(7, 3), generative_channels=5))
    assert objective.needs == {"generative"}
    term = objective.terms["gen"]
    assert [p.shape for p in term.parameters()] == [(5, 3, 1, 1), (5,)]
    trunk, prior = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    inputs = SimpleNamespace(student_maps=(torch.randn(2, 7, 8, 8), trunk), generative_BCHW=prior)
    adapted = torch.einsum("oc,bchw->bohw", term.weight[:, :, 0, 0], trunk) + term.bias[:, None, None]
    torch.testing.assert_close(term(inputs), gdrd_loss(adapted, prior))
    term(inputs).backward()
    assert all(p.grad.abs().sum() > 0 for p in term.parameters())
    rebuilt = Objective({"gen": GDRD()}, LossDims(4, student_channels=(7, 3), generative_channels=5)).terms["gen"]
    torch.testing.assert_close(rebuilt.weight, term.weight)


def test_single_image_is_finite():
    assert torch.isfinite(gdrd_loss(torch.randn(1, 2, 1, 1), torch.randn(1, 2, 1, 1)))


def test_mean_over_two_ranks_equals_one():
    """The mean of two ranks' losses, as DDP and `average_gradients` compute it, equals the loss of the full batch."""
    student, teacher = maps(4, 2, 3, 3, grad=True), maps(4, 2, 3, 3, seed=1)
    whole = gdrd_loss(student, teacher)
    parts = (gdrd_loss(student[:2], teacher[:2]) + gdrd_loss(student[2:], teacher[2:])) / 2
    assert_equals_loop(parts, whole, student)
