import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.fkd import fkd_loss
from aird_plugin.losses.horkd import HORKD, centroid_loss
from aird_plugin.losses.rkd import angle_loss, distance_loss
from aird_plugin.training.objective import LossDims, LossInputs, Objective
from tests.losses.loops import assert_equals_loop

NONE = {"first": 0.0, "second": 0.0, "third": 0.0, "high": 0.0}


def cosines(seed=0, count=4, classes=6):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.rand(2, count, classes, generator=generator, dtype=torch.float64) * 2 - 1
    return student.requires_grad_(), teacher


def make_inputs():
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    student_cosine, teacher_cosine = cosines()
    return LossInputs(
        student.requires_grad_(),
        torch.arange(4),
        teacher_BD=F.normalize(teacher),
        label_G=torch.arange(4),
        student_cosine_GC=student_cosine,
        teacher_cosine_GC=teacher_cosine,
    )


def test_value_and_gradient_equal_loop():
    student, teacher = cosines()
    slow = 0
    for s, t in zip(student, teacher, strict=True):
        for a, b in zip(s, t, strict=True):
            slow = slow + 5 * (a - b) ** 2
    slow, fast = slow / 24, centroid_loss(student, teacher, 5)
    assert_equals_loop(fast, slow, student)
    assert torch.autograd.gradcheck(lambda s: centroid_loss(s, teacher, 5), (student,))


def test_random_directions_have_loss_two():
    """As for the first order, so that equal weights have equal effect."""
    generator = torch.Generator().manual_seed(0)
    student, teacher, centers = (F.normalize(torch.randn(400, 64, generator=generator)) for _ in range(3))
    assert centroid_loss(student @ centers.T, teacher @ centers.T, 64).item() == pytest.approx(2, rel=0.03)


def test_rotated_student_and_centers_have_zero_loss():
    """Rotating the embeddings together with the centers leaves the cosines unchanged."""
    generator = torch.Generator().manual_seed(0)
    student, centers = (F.normalize(torch.randn(7, 5, generator=generator)) for _ in range(2))
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator))
    rotated_cosine = (student @ rotation) @ (centers @ rotation).T
    assert centroid_loss(rotated_cosine, student @ centers.T, 5).item() == pytest.approx(0, abs=1e-12)


class Halves:
    """Two ranks simulated in one process, as in test_sharding."""

    def sum(self, x):
        first, second = x.chunk(2)
        return torch.cat([first + second] * 2)


def test_two_ranks_with_unequal_classes_equal_one():
    student, teacher = cosines()
    short = [F.pad(x[:, :2], (0, 2)) for x in (student, teacher)]
    halves = [torch.cat([a, x[:, 2:]]) for a, x in zip(short, (student, teacher), strict=True)]
    whole = centroid_loss(student, teacher, 5)
    torch.testing.assert_close(centroid_loss(*halves, 5, Halves()) * 8 / 6, whole)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("first", lambda inputs: fkd_loss(inputs.student_BD, inputs.teacher_BD)),
        ("second", lambda inputs: distance_loss(F.normalize(inputs.student_BD), inputs.teacher_BD)),
        ("third", lambda inputs: angle_loss(F.normalize(inputs.student_BD), inputs.teacher_BD)),
        ("high", lambda inputs: centroid_loss(inputs.student_cosine_GC, inputs.teacher_cosine_GC, 5)),
    ],
)
def test_each_order_alone_is_weighted(order, expected):
    inputs = make_inputs()
    spec = HORKD(weight=2.0, **NONE | {order: 3.0})
    torch.testing.assert_close(Objective({"horkd": spec}, LossDims(5))(inputs, torch.tensor(0.0))["loss"], 6 * expected(inputs))
    assert expected(inputs).item() > 0


def test_orders_add_up():
    inputs = make_inputs()
    orders = [HORKD(**NONE | {order: 1.0}).build(LossDims(5))(inputs) for order in NONE]
    together = HORKD(first=1.0, second=1.0, third=1.0, high=1.0).build(LossDims(5))(inputs)
    torch.testing.assert_close(together, sum(orders))


def test_teacher_has_no_gradient():
    inputs = make_inputs()
    inputs.teacher_BD.requires_grad_()
    inputs.teacher_cosine_GC.requires_grad_()
    HORKD().build(LossDims(5))(inputs).backward()
    assert inputs.teacher_BD.grad is None and inputs.teacher_cosine_GC.grad is None
    assert inputs.student_BD.grad.abs().sum() > 0 and inputs.student_cosine_GC.grad.abs().sum() > 0


def test_invalid_keys_and_shapes_are_rejected():
    with pytest.raises(ValueError, match="third must be 0 or more; got -2"):
        HORKD(third=-2.0)
    with pytest.raises(ValueError, match="first, second, third, high must have a weight above 0"):
        HORKD(**NONE)
    student, teacher = cosines()
    with pytest.raises(ValueError, match=r"one shape; got \(4, 6\) and \(4, 5\)"):
        centroid_loss(student, teacher[:, :5], 5)
