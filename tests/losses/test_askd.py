import pytest
import torch

from aird_plugin.losses.askd import AttentionSimilarity, AttentionSimilarityLoss, askd_loss, channel_attention
from aird_plugin.losses.attention import attention_map
from aird_plugin.objective import Sizes, Views
from tests.losses.test_attention import draw_maps


def views_of(student_maps, teacher_maps) -> Views:
    count = len(student_maps[0])
    return Views(torch.eye(count), torch.arange(count), student_maps=tuple(student_maps), teacher_maps=tuple(teacher_maps))


def term_for(student_maps, teacher_maps) -> AttentionSimilarityLoss:
    channels = [tuple(m.shape[1] for m in maps) for maps in (student_maps, teacher_maps)]
    return AttentionSimilarity().build(Sizes(4, student_channels=channels[0], teacher_channels=channels[1])).double()


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


def test_value_and_gradient_equal_the_loop_where_networks_are_alike():
    """Then there is no layer between them, as in the paper."""
    student_maps, teacher_maps = draw_maps()
    for map_BCHW in student_maps:
        map_BCHW.requires_grad_()
    term = term_for(student_maps, teacher_maps)
    assert not list(term.parameters())
    fast, slow = term(views_of(student_maps, teacher_maps)), slow_loss(student_maps, teacher_maps)
    torch.testing.assert_close(fast, slow)
    for a, b in zip(*(torch.autograd.grad(x, student_maps) for x in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b)


def test_the_figure_of_the_public_implementation():
    """gist-ailab/feature-similarity-KD train_student_multi.py, the A_SKD branch, with the means over places and
    teaching-where-to-look model/backbone.py `at` in the place of CBAM's attentions."""
    maps = draw_maps()
    assert term_for(*maps)(views_of(*maps)).item() == pytest.approx(0.5172718276977223, rel=1e-9)


def test_gradcheck_through_the_layer():
    (student,), (teacher,) = draw_maps([(2, 2, 2, 3)])
    teacher = teacher.repeat(1, 2, 1, 1)
    term = term_for([student], [teacher])
    assert torch.autograd.gradcheck(lambda x: term(views_of([x], [teacher])), (student.requires_grad_(),))


def test_angles_in_the_head():
    """Channels at 90 degrees count 1, places that agree 0: the mean is a half."""
    student, teacher = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    student[0, 0], teacher[0, 1] = 1.0, 1.0
    loss = askd_loss([channel_attention(student)], [attention_map(student)], [teacher])
    assert loss.item() == pytest.approx(0.5)
    loss = askd_loss([channel_attention(-teacher)], [attention_map(-teacher)], [teacher])
    assert loss.item() == pytest.approx(1), "opposite channels count 2"


def test_other_channels_go_through_a_layer_that_learns():
    torch.manual_seed(0)
    student_maps, teacher_maps = [torch.randn(4, 3, 2, 2).double()], [torch.randn(4, 5, 2, 2).double()]
    term = term_for(student_maps, teacher_maps)
    assert [tuple(p.shape) for p in term.parameters()] == [(5, 3)]
    before = term(views_of(student_maps, teacher_maps))
    before.backward()
    with torch.no_grad():
        for parameter in term.parameters():
            parameter -= parameter.grad
    assert term(views_of(student_maps, teacher_maps)) < before


def test_one_face_of_zeros_stays_finite():
    zeros = torch.zeros(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    loss = term_for([zeros], [zeros])(views_of([zeros], [torch.ones(1, 3, 2, 2, dtype=torch.float64)]))
    loss.backward()
    assert loss.item() == pytest.approx(1) and torch.isfinite(zeros.grad).all()


def test_what_is_no_pair_is_refused():
    with pytest.raises(ValueError, match="come in pairs"):
        AttentionSimilarity().build(Sizes(4))(views_of([torch.ones(2, 3, 4, 4)], [torch.ones(2, 3, 2, 2)]))
