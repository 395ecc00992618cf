import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.feature import feature_loss
from aird_plugin.losses.horkd import HybridOrder, centroid_loss
from aird_plugin.losses.rkd import angle_loss, distance_loss
from aird_plugin.objective import Objective, Sizes, Views

NONE = {"first": 0.0, "second": 0.0, "third": 0.0, "high": 0.0}


def cosines(seed=0, count=4, classes=6):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.rand(2, count, classes, generator=generator, dtype=torch.float64) * 2 - 1
    return student.requires_grad_(), teacher


def views():
    generator = torch.Generator().manual_seed(3)
    student, teacher = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64)
    student_cosine, teacher_cosine = cosines()
    return Views(
        student.requires_grad_(), torch.arange(4), teacher_BD=F.normalize(teacher), label_G=torch.arange(4),
        student_cosine_GC=student_cosine, teacher_cosine_GC=teacher_cosine,
    )  # fmt: skip


def test_value_and_gradient_equal_the_loop():
    student, teacher = cosines()
    slow = 0
    for s, t in zip(student, teacher, strict=True):
        for a, b in zip(s, t, strict=True):
            slow = slow + 5 * (a - b) ** 2
    slow, fast = slow / 24, centroid_loss(student, teacher, 5)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (fast, slow)))
    assert torch.autograd.gradcheck(lambda s: centroid_loss(s, teacher, 5), (student,))


def test_it_starts_at_two_for_directions_at_random():
    """As the first order does, so that one weight means one size."""
    generator = torch.Generator().manual_seed(0)
    student, teacher, centres = (F.normalize(torch.randn(400, 64, generator=generator)) for _ in range(3))
    assert centroid_loss(student @ centres.T, teacher @ centres.T, 64).item() == pytest.approx(2, rel=0.03)


def test_a_students_own_centres_are_compared_with_the_teachers_own():
    """A student that is the teacher turned about, centres and all, owes nothing."""
    generator = torch.Generator().manual_seed(0)
    faces, centres = (F.normalize(torch.randn(7, 5, generator=generator)) for _ in range(2))
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator))
    assert centroid_loss((faces @ turn) @ (centres @ turn).T, faces @ centres.T, 5).item() == pytest.approx(0, abs=1e-12)


class Halves:
    """Two ranks played by one process, as in test_sharding."""

    def sum(self, x):
        first, second = x.chunk(2)
        return torch.cat([first + second] * 2)


def test_classes_on_two_ranks_of_unequal_share():
    student, teacher = cosines()
    short = [F.pad(x[:, :2], (0, 2)) for x in (student, teacher)]
    halves = [torch.cat([a, x[:, 2:]]) for a, x in zip(short, (student, teacher), strict=True)]
    whole = centroid_loss(student, teacher, 5)
    torch.testing.assert_close(centroid_loss(*halves, 5, Halves()) * 8 / 6, whole)


@pytest.mark.parametrize(("order", "expected"), [
    ("first", lambda v: feature_loss(v.student_BD, v.teacher_BD)),
    ("second", lambda v: distance_loss(F.normalize(v.student_BD), v.teacher_BD)),
    ("third", lambda v: angle_loss(F.normalize(v.student_BD), v.teacher_BD)),
    ("high", lambda v: centroid_loss(v.student_cosine_GC, v.teacher_cosine_GC, 5)),
])  # fmt: skip
def test_each_order_by_itself_and_with_its_weight(order, expected):
    v = views()
    spec = HybridOrder(weight=2.0, **NONE | {order: 3.0})
    torch.testing.assert_close(Objective({"horkd": spec}, Sizes(5))(v, torch.tensor(0.0))["loss"], 6 * expected(v))
    assert expected(v).item() > 0


def test_all_orders_add_up():
    v = views()
    orders = [HybridOrder(**NONE | {order: 1.0}).build(Sizes(5))(v) for order in NONE]
    together = HybridOrder(first=1.0, second=1.0, third=1.0, high=1.0).build(Sizes(5))(v)
    torch.testing.assert_close(together, sum(orders))


def test_no_gradient_reaches_the_teacher():
    v = views()
    v.teacher_BD.requires_grad_()
    v.teacher_cosine_GC.requires_grad_()
    HybridOrder().build(Sizes(5))(v).backward()
    assert v.teacher_BD.grad is None and v.teacher_cosine_GC.grad is None
    assert v.student_BD.grad.abs().sum() > 0 and v.student_cosine_GC.grad.abs().sum() > 0


def test_wrong_keys_and_shapes_are_refused():
    with pytest.raises(ValueError, match="third must be 0 or more; got -2"):
        HybridOrder(third=-2.0)
    with pytest.raises(ValueError, match="first, second, third, high must have a weight above 0"):
        HybridOrder(**NONE)
    student, teacher = cosines()
    with pytest.raises(ValueError, match=r"one shape; got \(4, 6\) and \(4, 5\)"):
        centroid_loss(student, teacher[:, :5], 5)
