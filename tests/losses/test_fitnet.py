import pytest
import torch

from aird_plugin.losses.fitnet import Adapters, FitNet, fitnet_loss
from aird_plugin.objective import Sizes, Views
from tests.losses.test_attention import draw_maps


def test_value_and_gradient_equal_the_loop():
    student_maps, teacher_maps = draw_maps()
    for map_BCHW in student_maps:
        map_BCHW.requires_grad_()
    slow = sum(
        (a - b) ** 2 / len(ours.flatten()) / 2
        for ours, theirs in zip(student_maps, teacher_maps, strict=True)
        for a, b in zip(ours.flatten(), theirs.flatten(), strict=True)
    )
    fast = fitnet_loss(student_maps, teacher_maps)
    torch.testing.assert_close(fast, slow)
    for a, b in zip(*(torch.autograd.grad(x, student_maps) for x in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_figure_of_the_public_implementation():
    """gist-ailab/feature-similarity-KD metric/distill_loss.py mse_loss, mean over stages as in its train_student_multi.py."""
    assert fitnet_loss(*draw_maps()).item() == pytest.approx(1.9927754890072735, rel=1e-9)


def test_gradcheck_through_the_adapters():
    (student,), (teacher,) = draw_maps([(3, 2, 2, 3)])
    adapters = Adapters((2,), (2,)).double()
    assert torch.autograd.gradcheck(lambda x: fitnet_loss(adapters([x]), [teacher]), (student.requires_grad_(),))


def test_a_map_one_off_everywhere():
    teacher_maps = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 2, 2)]
    assert fitnet_loss([teacher + 1 for teacher in teacher_maps], teacher_maps).item() == 1


def test_adapters_bring_channels_to_the_teachers_and_come_from_the_seed():
    one, other, third = Adapters((3, 4), (5, 2)), Adapters((3, 4), (5, 2)), Adapters((3, 4), (5, 2), seed=1)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert not torch.equal(one.pairs[0][0].weight, third.pairs[0][0].weight)
    maps = [torch.randn(2, 3, 4, 4), torch.randn(2, 4, 2, 2)]
    assert [tuple(out.shape) for out in one(maps)] == [(2, 5, 4, 4), (2, 2, 2, 2)]


def test_adapters_learn_and_the_teacher_has_no_gradient():
    torch.manual_seed(0)
    term = FitNet().build(Sizes(4, student_channels=(3,), teacher_channels=(5,)))
    student, teacher = torch.randn(4, 3, 4, 4, requires_grad=True), torch.randn(4, 5, 4, 4, requires_grad=True)
    views = Views(torch.eye(4), torch.arange(4), student_maps=(student,), teacher_maps=(teacher,))
    optimizer = torch.optim.SGD(term.parameters(), lr=0.5)
    told = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = term(views)
        loss.backward()
        optimizer.step()
        told.append(loss.item())
    assert told[-1] < 0.7 * told[0] and teacher.grad is None and student.grad.abs().sum() > 0


def test_channels_that_differ_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        fitnet_loss([torch.ones(2, 3, 4, 4)], [torch.ones(2, 5, 4, 4)])


def test_one_face_and_maps_of_zeros_stay_finite():
    term = FitNet().build(Sizes(4, student_channels=(3,), teacher_channels=(5,)))
    student = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss = term(Views(torch.eye(1), torch.arange(1), student_maps=(student,), teacher_maps=(torch.ones(1, 5, 4, 4),)))
    loss.backward()
    assert loss.item() == pytest.approx(1) and torch.isfinite(student.grad).all()
