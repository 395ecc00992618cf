import pytest
import torch

from aird_plugin.losses.map_regression import MIN_SHARE, MapRegression, map_regression_loss
from aird_plugin.training.objective import LossDims, LossInputs
from tests.losses.loops import assert_equals_loop


def draw_maps() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Two pairs of float64 maps (B, C, H, W), the second of unequal sides."""
    torch.manual_seed(0)
    shapes = ((3, 2, 4, 4), (3, 4, 3, 2))
    return tuple([torch.randn(*shape, dtype=torch.float64) * 3 + 1 for shape in shapes] for _ in range(2))


def test_value_and_gradient_equal_loop():
    student_maps, teacher_maps = draw_maps()
    for map_BCHW in student_maps:
        map_BCHW.requires_grad_()
    slow = 0.0
    for student, teacher in zip(student_maps, teacher_maps, strict=True):
        channels = range(teacher.shape[1])
        means = [sum(teacher[:, c].flatten()) / teacher[:, c].numel() for c in channels]
        variances = [sum((x - means[c]) ** 2 for x in teacher[:, c].flatten()) / teacher[:, c].numel() for c in channels]
        for c in channels:
            spread = variances[c] + MIN_SHARE * sum(variances) / len(variances)
            values = zip(student[:, c].flatten(), teacher[:, c].flatten(), strict=True)
            slow = slow + sum((a - b) ** 2 for a, b in values) / teacher[:, c].numel() / spread / len(variances) / 2
    assert_equals_loop(map_regression_loss(student_maps, teacher_maps), slow, student_maps)


def test_gradcheck():
    (student, *_), (teacher, *_) = draw_maps()
    assert torch.autograd.gradcheck(lambda x: map_regression_loss([x], [teacher]), (student.requires_grad_(),))


def test_a_difference_of_one_standard_deviation_has_loss_one():
    """Channels of -1 and 1, and of -10 and 10, each shifted by its standard deviation. Their mean variance is 50.5."""
    signs_BCHW = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 2, 3, 3)
    spread_CHW = torch.tensor([1.0, 10.0]).view(2, 1, 1)
    teacher = signs_BCHW * spread_CHW
    expected = (1 / (1 + MIN_SHARE * 50.5) + 100 / (100 + MIN_SHARE * 50.5)) / 2
    assert map_regression_loss([teacher + spread_CHW], [teacher]).item() == pytest.approx(expected)


def test_scale_of_a_map_and_order_of_images_have_no_effect():
    student_maps, teacher_maps = draw_maps()
    loss = map_regression_loss(student_maps, teacher_maps)
    scaled = map_regression_loss([100 * m for m in student_maps], [100 * m for m in teacher_maps])
    turned = map_regression_loss([m.flip(0) for m in student_maps], [m.flip(0) for m in teacher_maps])
    torch.testing.assert_close(scaled, loss)
    torch.testing.assert_close(turned, loss)


def test_equal_maps_have_loss_zero_and_the_teacher_no_gradient():
    _, (teacher, *_) = draw_maps()
    student, teacher = teacher.clone().requires_grad_(), teacher.requires_grad_()
    loss = map_regression_loss([student], [teacher])
    loss.backward()
    assert loss.item() == 0 and teacher.grad is None and not student.grad.any()


def test_constant_teacher_map_is_finite():
    """One image of one colour: every variance is 0."""
    student = torch.full((1, 2, 3, 3), 1e-3, requires_grad=True)
    loss = map_regression_loss([student], [torch.zeros(1, 2, 3, 3)])
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()


def test_half_precision_maps_are_compared_in_float32():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    loss = map_regression_loss([student.bfloat16()], [teacher])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, map_regression_loss([student.bfloat16().float()], [teacher]))


def test_term_leaves_out_the_largest_maps():
    student_maps, teacher_maps = draw_maps()
    term = MapRegression(skip=1).build(LossDims(4, student_channels=(3, 4), teacher_channels=(2, 4)))
    inputs = LossInputs(torch.eye(4), torch.arange(4), student_maps=tuple(student_maps), teacher_maps=tuple(teacher_maps))
    assert term(inputs) == map_regression_loss(student_maps[1:], teacher_maps[1:])


@pytest.mark.parametrize(
    ("skip", "teacher_channels", "words"),
    [(0, (2, 5), r"\(2, 4\) and \(2, 5\) channels"), (2, (2, 4), "skip=2 leaves none of 2 maps")],
)
def test_pairs_that_cannot_be_compared_are_refused(skip, teacher_channels, words):
    with pytest.raises(ValueError, match=words):
        MapRegression(skip=skip).build(LossDims(4, student_channels=(2, 4), teacher_channels=teacher_channels))


def test_different_shapes_and_a_negative_skip_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        map_regression_loss([torch.ones(2, 3, 4, 4)], [torch.ones(2, 5, 4, 4)])
    with pytest.raises(ValueError, match="skip"):
        MapRegression(skip=-1)
