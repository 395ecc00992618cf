import math

import pytest
import torch

from aird_plugin.losses.feature import Feature, feature_loss
from aird_plugin.objective import Objective, Sizes, Views


def pair(count=4, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(count, width, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.requires_grad_(), teacher


def test_squares_in_the_head():
    """Of width 4 the target has length 2: (2, 0, 0, 0)."""
    teacher = torch.tensor([[5.0, 0, 0, 0]])
    assert feature_loss(torch.tensor([[2.0, 0, 0, 0]]), teacher).item() == 0
    assert feature_loss(torch.tensor([[0.0, 2, 0, 0]]), teacher).item() == pytest.approx(8 / 4)
    assert feature_loss(torch.tensor([[1.0, 0, 0, 0]]), teacher).item() == pytest.approx(1 / 4)


def test_value_and_gradient_equal_the_loop():
    student, teacher = pair()
    slow = 0
    for s, t in zip(student, teacher, strict=True):
        for a, b in zip(s, t, strict=True):
            slow = slow + (a - math.sqrt(3) * b / t.norm()) ** 2
    slow, fast = slow / 12, feature_loss(student, teacher)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (fast, slow)))


def test_gradcheck():
    student, teacher = pair()
    assert torch.autograd.gradcheck(lambda s: feature_loss(s, teacher), (student,))


def test_a_turn_of_both_and_the_teachers_length_change_nothing_but_the_students_does():
    student, teacher = pair()
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    plain = feature_loss(student, teacher)
    torch.testing.assert_close(feature_loss(student @ turn, 7 * teacher @ turn), plain)
    assert not torch.isclose(feature_loss(2 * student, teacher), plain)


def test_it_starts_at_two_for_students_of_unit_coordinates():
    """As a network whose last BatchNorm has gain 1 gives them; the paper's 0.1 is meant for that size."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 500, 64, generator=generator)
    assert feature_loss(student, teacher).item() == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    """1,000^2 alone is beyond float16."""
    student = torch.full((1, 4), 1000.0, dtype=dtype, requires_grad=True)
    loss = feature_loss(student, torch.ones(1, 4, dtype=dtype))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(999**2, rel=0.01)
    assert torch.isfinite(student.grad).all()


def test_zero_embeddings_are_finite():
    student = torch.zeros(2, 3, requires_grad=True)
    loss = feature_loss(student, torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(student.grad).all()


def test_no_gradient_reaches_the_teacher():
    student, teacher = pair()
    feature_loss(student, teacher.requires_grad_()).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_two_widths_are_refused():
    with pytest.raises(ValueError, match=r"student \(2, 3\), teacher \(2, 4\)"):
        feature_loss(torch.zeros(2, 3), torch.zeros(2, 4))


def test_the_spec_builds_its_module():
    student, teacher = pair()
    objective = Objective({"fkd": Feature()}, Sizes(3))
    out = objective(Views(student, torch.arange(4), teacher_BD=teacher), torch.tensor(1.0))
    assert objective.needs == {"teacher_width"}
    torch.testing.assert_close(out["loss"], 1 + 0.1 * feature_loss(student, teacher))
