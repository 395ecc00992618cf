import math

import pytest
import torch

from aird_plugin.losses.fkd import FKD, fkd_loss
from aird_plugin.training.objective import LossDims, LossInputs, Objective
from tests.losses.loops import assert_equals_loop


def pair(count=4, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.requires_grad_(), teacher


def test_known_squares():
    """Of width 4 the target has length 2: (2, 0, 0, 0)."""
    teacher = torch.tensor([[5.0, 0, 0, 0]])
    assert fkd_loss(torch.tensor([[2.0, 0, 0, 0]]), teacher).item() == 0
    assert fkd_loss(torch.tensor([[0.0, 2, 0, 0]]), teacher).item() == pytest.approx(8 / 4)
    assert fkd_loss(torch.tensor([[1.0, 0, 0, 0]]), teacher).item() == pytest.approx(1 / 4)


def test_value_and_gradient_equal_loop():
    student, teacher = pair()
    slow = 0
    for s, t in zip(student, teacher, strict=True):
        for a, b in zip(s, t, strict=True):
            slow = slow + (a - math.sqrt(3) * b / t.norm()) ** 2
    slow, fast = slow / 12, fkd_loss(student, teacher)
    assert_equals_loop(fast, slow, student)


def test_gradcheck():
    student, teacher = pair()
    assert torch.autograd.gradcheck(lambda s: fkd_loss(s, teacher), (student,))


def test_loss_ignores_rotation_and_teacher_norm_but_not_student_norm():
    student, teacher = pair()
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    plain = fkd_loss(student, teacher)
    torch.testing.assert_close(fkd_loss(student @ rotation, 7 * teacher @ rotation), plain)
    assert not torch.isclose(fkd_loss(2 * student, teacher), plain)


def test_random_unit_coordinates_have_loss_two():
    """A network whose last BatchNorm has gain 1 outputs unit coordinates; the paper's 0.1 assumes a loss of this size."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 500, 64, generator=generator)
    assert fkd_loss(student, teacher).item() == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    """1,000^2 exceeds the range of float16."""
    student = torch.full((1, 4), 1000.0, dtype=dtype, requires_grad=True)
    loss = fkd_loss(student, torch.ones(1, 4, dtype=dtype))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(999**2, rel=0.01)
    assert torch.isfinite(student.grad).all()


def test_zero_embeddings_are_finite():
    student = torch.zeros(2, 3, requires_grad=True)
    loss = fkd_loss(student, torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(student.grad).all()


def test_teacher_has_no_gradient():
    student, teacher = pair()
    fkd_loss(student, teacher.requires_grad_()).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_different_widths_are_rejected():
    with pytest.raises(ValueError, match=r"one shape; got \(2, 3\) and \(2, 4\)"):
        fkd_loss(torch.zeros(2, 3), torch.zeros(2, 4))


def test_spec_builds_its_module():
    student, teacher = pair()
    objective = Objective({"fkd": FKD()}, LossDims(3))
    out = objective(LossInputs(student, torch.arange(4), teacher_BD=teacher), torch.tensor(1.0))
    assert objective.needs == {"teacher_width"}
    torch.testing.assert_close(out["loss"], 1 + 0.1 * fkd_loss(student, teacher))
