import pytest
import torch

from aird_plugin.losses.at import AT, at_loss, attention_map
from aird_plugin.training.objective import LossDims, LossInputs
from tests.losses.loops import assert_equals_loop

SHAPES = ((3, 5, 6, 6), (3, 7, 4, 4))


def draw_maps(shapes=SHAPES, seed: int = 0, count: int = 2) -> list[list[torch.Tensor]]:
    """Maps of `count` networks, float64, from one seeded generator."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in range(count)]


def slow_attention_loss(student_maps, teacher_maps):
    total = 0
    for student, teacher in zip(student_maps, teacher_maps, strict=True):
        for s, t in zip(student, teacher, strict=True):
            one, other = (sum(channel**2 for channel in channels) for channels in (s, t))
            gap = one / one.norm() - other / other.norm()
            total += (gap**2).sum() / gap.numel() / len(student) / len(student_maps)
    return total


def test_value_and_gradient_equal_loop():
    student_maps, teacher_maps = draw_maps()
    for map_BCHW in student_maps:
        map_BCHW.requires_grad_()
    fast, slow = at_loss(student_maps, teacher_maps), slow_attention_loss(student_maps, teacher_maps)
    assert_equals_loop(fast, slow, student_maps)


def test_gradcheck():
    (student,), (teacher,) = draw_maps([(2, 2, 2, 3)])
    assert torch.autograd.gradcheck(lambda x: at_loss([x], [teacher]), (student.requires_grad_(),))


def test_loss_equals_public_implementations():
    """gist-ailab/feature-similarity-KD metric/distill_loss.py AT_cri, mean over stages; megvii-research/mdistiller
    mdistiller/distillers/AT.py at_loss, a sum over stages. On the maps of `draw_maps`."""
    loss = at_loss(*draw_maps()).item()
    assert loss == pytest.approx(0.021509216673772046, rel=1e-5)
    assert 2 * loss == pytest.approx(0.043018436056027475, rel=1e-9)


def test_known_positions():
    """Each map is active at one position: at different ones, (1, 0, 0, 0) and (0, 1, 0, 0) differ by 2 over 4 positions."""
    left, right = torch.zeros(1, 3, 2, 2), torch.zeros(1, 5, 2, 2)
    left[0, :, 0, 0], right[0, :, 0, 1] = 2.0, -7.0
    assert at_loss([left], [right]).item() == pytest.approx(0.5)
    assert at_loss([left], [right.flip(3)]).item() == 0


def test_loss_ignores_channel_order_sign_and_scale():
    student_maps, teacher_maps = draw_maps()
    other = [-3 * map_BCHW.flip(1) for map_BCHW in student_maps]
    torch.testing.assert_close(at_loss(other, teacher_maps), at_loss(student_maps, teacher_maps))


def test_single_zero_map_is_finite():
    zeros = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = at_loss([zeros], [torch.ones(1, 4, 2, 2)])
    loss.backward()
    assert loss.item() == pytest.approx(0.25) and torch.isfinite(zeros.grad).all()
    assert attention_map(zeros).abs().sum() == 0


def test_teacher_has_no_gradient():
    student, teacher = (torch.randn(2, 3, 2, 2, requires_grad=True) for _ in range(2))
    at_loss([student], [teacher]).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ([], []),
        ([(2, 3, 4, 4)], []),
        ([(2, 3, 4, 4)], [(2, 3, 4, 3)]),
        ([(2, 3, 4, 4)], [(3, 3, 4, 4)]),
    ],
)
def test_unpaired_maps_are_rejected(student, teacher):
    with pytest.raises(ValueError, match="come in pairs"):
        at_loss([torch.ones(shape) for shape in student], [torch.ones(shape) for shape in teacher])


def test_spec_builds_its_module():
    student_maps, teacher_maps = draw_maps()
    inputs = LossInputs(torch.eye(3), torch.arange(3), student_maps=tuple(student_maps), teacher_maps=tuple(teacher_maps))
    assert AT().build(LossDims(3))(inputs) == at_loss(student_maps, teacher_maps)
    assert AT().weight == 1000 and AT.needs == {"maps"}
