import pytest
import torch

from aird_plugin.losses.askd import ASKD, ASKDLoss, askd_loss, channel_attention
from aird_plugin.losses.at import attention_map
from aird_plugin.training.objective import LossDims, LossInputs
from tests.losses.loops import assert_equals_loop
from tests.losses.test_at import draw_maps


def inputs_of(student_maps, teacher_maps) -> LossInputs:
    count = len(student_maps[0])
    return LossInputs(torch.eye(count), torch.arange(count), student_maps=tuple(student_maps), teacher_maps=tuple(teacher_maps))


def term_for(student_maps, teacher_maps) -> ASKDLoss:
    channels = [tuple(m.shape[1] for m in maps) for maps in (student_maps, teacher_maps)]
    return ASKD().build(LossDims(4, student_channels=channels[0], teacher_channels=channels[1])).double()


def slow_loss(student_maps, teacher_maps):
    distances = []
    for student, teacher in zip(student_maps, teacher_maps, strict=True):
        for s, t in zip(student, teacher, strict=True):
            for one, other in (
                (torch.stack([c.mean() for c in s]), torch.stack([c.mean() for c in t])),
                (sum(c**2 for c in s).flatten(), sum(c**2 for c in t).flatten()),
            ):
                distances.append(1 - one @ other / one.norm() / other.norm())
    return sum(distances) / len(distances)


def test_value_and_gradient_equal_loop_for_equal_channels():
    """Then the term has no linear layer, as in the paper."""
    student_maps, teacher_maps = draw_maps()
    for map_BCHW in student_maps:
        map_BCHW.requires_grad_()
    term = term_for(student_maps, teacher_maps)
    assert not list(term.parameters())
    fast, slow = term(inputs_of(student_maps, teacher_maps)), slow_loss(student_maps, teacher_maps)
    assert_equals_loop(fast, slow, student_maps)


def test_loss_equals_public_implementation():
    """gist-ailab/feature-similarity-KD train_student_multi.py, the A_SKD branch, with the means over positions and
    teaching-where-to-look model/backbone.py `at` instead of CBAM's attentions."""
    maps = draw_maps()
    assert term_for(*maps)(inputs_of(*maps)).item() == pytest.approx(0.5172718276977223, rel=1e-9)


def test_gradcheck_through_linear_layer():
    (student,), (teacher,) = draw_maps([(2, 2, 2, 3)])
    teacher = teacher.repeat(1, 2, 1, 1)
    term = term_for([student], [teacher])
    assert torch.autograd.gradcheck(lambda x: term(inputs_of([x], [teacher])), (student.requires_grad_(),))


def test_known_angles():
    """Orthogonal channel attention counts 1, equal spatial attention 0: the mean is 0.5."""
    student, teacher = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    student[0, 0], teacher[0, 1] = 1.0, 1.0
    loss = askd_loss([channel_attention(student)], [attention_map(student)], [teacher])
    assert loss.item() == pytest.approx(0.5)
    loss = askd_loss([channel_attention(-teacher)], [attention_map(-teacher)], [teacher])
    assert loss.item() == pytest.approx(1), "opposite channel attention counts 2"


def test_different_channels_use_a_trainable_linear_layer():
    torch.manual_seed(0)
    student_maps, teacher_maps = [torch.randn(4, 3, 2, 2).double()], [torch.randn(4, 5, 2, 2).double()]
    term = term_for(student_maps, teacher_maps)
    assert [tuple(p.shape) for p in term.parameters()] == [(5, 3)]
    before = term(inputs_of(student_maps, teacher_maps))
    before.backward()
    with torch.no_grad():
        for parameter in term.parameters():
            parameter -= parameter.grad
    assert term(inputs_of(student_maps, teacher_maps)) < before


def test_single_zero_map_is_finite():
    zeros = torch.zeros(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    loss = term_for([zeros], [zeros])(inputs_of([zeros], [torch.ones(1, 3, 2, 2, dtype=torch.float64)]))
    loss.backward()
    assert loss.item() == pytest.approx(1) and torch.isfinite(zeros.grad).all()


def test_unpaired_maps_are_rejected():
    with pytest.raises(ValueError, match="come in pairs"):
        ASKD().build(LossDims(4))(inputs_of([torch.ones(2, 3, 4, 4)], [torch.ones(2, 3, 2, 2)]))
