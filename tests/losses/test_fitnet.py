import pytest
import torch

from aird_plugin.losses.fitnet import Adapters, FitNet, fitnet_loss
from aird_plugin.training.objective import LossDims, LossInputs
from tests.losses.loops import assert_equals_loop
from tests.losses.test_at import draw_maps


def test_value_and_gradient_equal_loop():
    student_maps, teacher_maps = draw_maps()
    for map_BCHW in student_maps:
        map_BCHW.requires_grad_()
    slow = sum(
        (a - b) ** 2 / len(student.flatten()) / 2
        for student, teacher in zip(student_maps, teacher_maps, strict=True)
        for a, b in zip(student.flatten(), teacher.flatten(), strict=True)
    )
    fast = fitnet_loss(student_maps, teacher_maps)
    assert_equals_loop(fast, slow, student_maps)


def test_loss_equals_public_implementation():
    """gist-ailab/feature-similarity-KD metric/distill_loss.py mse_loss, mean over stages as in its train_student_multi.py."""
    assert fitnet_loss(*draw_maps()).item() == pytest.approx(1.9927754890072735, rel=1e-9)


def test_gradcheck_through_adapters():
    (student,), (teacher,) = draw_maps([(3, 2, 2, 3)])
    adapters = Adapters((2,), (2,)).double()
    assert torch.autograd.gradcheck(lambda x: fitnet_loss(adapters([x]), [teacher]), (student.requires_grad_(),))


def test_maps_with_difference_one_have_loss_one():
    teacher_maps = [torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 2, 2)]
    assert fitnet_loss([teacher + 1 for teacher in teacher_maps], teacher_maps).item() == 1


def test_adapters_map_channels_and_are_seeded():
    first, second, other_seed = Adapters((3, 4), (5, 2)), Adapters((3, 4), (5, 2)), Adapters((3, 4), (5, 2), seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.pairs[0][0].weight, other_seed.pairs[0][0].weight)
    maps = [torch.randn(2, 3, 4, 4), torch.randn(2, 4, 2, 2)]
    assert [tuple(out.shape) for out in first(maps)] == [(2, 5, 4, 4), (2, 2, 2, 2)]


def test_adapters_learn_without_teacher_gradient():
    torch.manual_seed(0)
    term = FitNet().build(LossDims(4, student_channels=(3,), teacher_channels=(5,)))
    student, teacher = torch.randn(4, 3, 4, 4, requires_grad=True), torch.randn(4, 5, 4, 4, requires_grad=True)
    inputs = LossInputs(torch.eye(4), torch.arange(4), student_maps=(student,), teacher_maps=(teacher,))
    optimizer = torch.optim.SGD(term.parameters(), lr=0.5)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = term(inputs)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0] and teacher.grad is None and student.grad.abs().sum() > 0


def test_different_channels_are_rejected():
    with pytest.raises(ValueError, match="one shape"):
        fitnet_loss([torch.ones(2, 3, 4, 4)], [torch.ones(2, 5, 4, 4)])


def test_single_zero_map_is_finite():
    term = FitNet().build(LossDims(4, student_channels=(3,), teacher_channels=(5,)))
    student = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss = term(LossInputs(torch.eye(1), torch.arange(1), student_maps=(student,), teacher_maps=(torch.ones(1, 5, 4, 4),)))
    loss.backward()
    assert loss.item() == pytest.approx(1) and torch.isfinite(student.grad).all()
