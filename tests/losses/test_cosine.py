import math
from functools import partial

import pytest
import torch

from aird_plugin.losses.cosine import CosineRegression, cosine_regression_loss, huber_regression_loss
from tests.losses.loops import assert_equals_loop

LOSSES = {"cosine": cosine_regression_loss, "huber": partial(huber_regression_loss, bend=0.01)}


def test_known_angles():
    teacher = torch.tensor([[2.0, 0], [0, 3]])
    assert cosine_regression_loss(torch.tensor([[5.0, 0], [0, 1]]), teacher).item() == pytest.approx(0, abs=1e-6)
    assert cosine_regression_loss(torch.tensor([[0.0, 1], [-1, 0]]), teacher).item() == pytest.approx(1)
    assert cosine_regression_loss(-teacher, teacher).item() == pytest.approx(2)


def test_value_and_gradient_equal_loop():
    student = torch.randn(4, 3, dtype=torch.float32, requires_grad=True)
    teacher = torch.randn(4, 3)
    slow = sum(1 - (s @ t) / (s.norm() * t.norm()) for s, t in zip(student, teacher, strict=True)) / 4
    fast = cosine_regression_loss(student, teacher)
    assert_equals_loop(fast, slow, student)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_teacher_has_no_gradient(loss):
    student, teacher = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_different_widths_are_rejected():
    with pytest.raises(ValueError, match=r"one shape; got \(2, 3\) and \(2, 4\)"):
        cosine_regression_loss(torch.zeros(2, 3), torch.zeros(2, 4))


def test_spec_builds_its_module():
    class LossInputs:
        student_BD = torch.eye(2)
        teacher_BD = -torch.eye(2)

    assert CosineRegression().build(2)(LossInputs).item() == pytest.approx(2)
    assert CosineRegression(huber=1.5).build(2)(LossInputs).item() == pytest.approx(1.0)


def test_huber_known_distances():
    teacher = torch.tensor([[3.0, 0]])
    # Distances 0, 2 and sqrt(2); sqrt(4 + 1.5^2) = 2.5.
    assert huber_regression_loss(teacher / 2, teacher, 1.5).item() == pytest.approx(0, abs=1e-6)
    assert huber_regression_loss(-teacher, teacher, 1.5).item() == pytest.approx(1.0)
    assert huber_regression_loss(torch.tensor([[0.0, 7]]), teacher, 1.0).item() == pytest.approx(3**0.5 - 1)


def test_huber_value_and_gradient_equal_loop():
    student = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 3, dtype=torch.float64)
    slow = (
        sum((((s / s.norm() - t / t.norm()) ** 2).sum() + 0.09).sqrt() - 0.3 for s, t in zip(student, teacher, strict=True)) / 4
    )
    fast = huber_regression_loss(student, teacher, 0.3)
    assert_equals_loop(fast, slow, student)
    assert torch.autograd.gradcheck(lambda x: huber_regression_loss(x, teacher, 0.3), student)


def test_huber_pulls_near_images_as_hard_as_far_ones():
    teacher = torch.tensor([[1.0, 0]]).double()

    def pull(loss, angle: float) -> float:
        student = torch.tensor([[math.cos(angle), math.sin(angle)]]).double().requires_grad_()
        return torch.autograd.grad(loss(student, teacher), student)[0].norm().item()

    ratio = {name: pull(loss, 0.2) / pull(loss, 1.2) for name, loss in LOSSES.items()}
    # 1 - cos pulls by sin(angle), a distance by cos(angle / 2).
    assert ratio["cosine"] == pytest.approx(math.sin(0.2) / math.sin(1.2))
    assert ratio["huber"] == pytest.approx(math.cos(0.1) / math.cos(0.6), rel=2e-3)


def test_huber_is_finite_at_its_target_and_far_scales():
    for scale in (1e-12, 1.0, 1e12):
        student = torch.full((2, 3), scale, requires_grad=True)
        huber_regression_loss(student, torch.ones(2, 3), 0.1).backward()
        assert torch.isfinite(student.grad).all()


def test_huber_rejects_widths_and_a_negative_bend():
    with pytest.raises(ValueError, match=r"one shape; got \(2, 3\) and \(2, 4\)"):
        huber_regression_loss(torch.zeros(2, 3), torch.zeros(2, 4), 0.1)
    with pytest.raises(ValueError, match="huber must be 0 or more"):
        CosineRegression(huber=-0.1)
