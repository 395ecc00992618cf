import pytest
import torch

from aird_plugin.losses.cosine import CosineRegression, cosine_regression_loss


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
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (fast, slow)))


def test_teacher_has_no_gradient():
    student, teacher = (torch.randn(2, 3, requires_grad=True) for _ in range(2))
    cosine_regression_loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_different_widths_are_rejected():
    with pytest.raises(ValueError, match=r"student \(2, 3\), teacher \(2, 4\)"):
        cosine_regression_loss(torch.zeros(2, 3), torch.zeros(2, 4))


def test_spec_builds_its_module():
    class LossInputs:
        student_BD = torch.eye(2)
        teacher_BD = -torch.eye(2)

    assert CosineRegression().build(2)(LossInputs).item() == pytest.approx(2)
