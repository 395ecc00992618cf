import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.fskd import FSKD, affinity, cross_sample_loss, similarity_loss
from aird_plugin.training.objective import LossDims, LossInputs
from tests.losses.loops import assert_equals_loop
from tests.losses.test_at import draw_maps


def slow_table(one_CHW, other_CHW):
    one, other = (x.flatten(1) / x.norm() for x in (one_CHW, other_CHW))
    return torch.stack([one[:, m] @ other[:, n] for m in range(one.shape[1]) for n in range(other.shape[1])])


def slow_cross_sample_loss(student, teacher):
    total = 0
    for g in range(len(student)):
        p = (g + 1) % len(student)
        target = slow_table(teacher[g], teacher[p])

        def gap(table, target=target):
            return 1 - table @ target / table.norm() / target.norm()

        half = gap(slow_table(teacher[g], student[p])) + gap(slow_table(student[g], teacher[p]))
        total += half / 2 + gap(slow_table(student[g], student[p]))
    return total / len(student)


def test_values_and_gradients_equal_loops():
    student_maps, teacher_maps = draw_maps()
    student, teacher = student_maps[-1].requires_grad_(), teacher_maps[-1]
    slow = sum(1 - s.flatten() @ t.flatten() / s.norm() / t.norm() for s, t in zip(student, teacher, strict=True)) / len(student)
    for fast, by_loop in (
        (similarity_loss([student], [teacher]), slow),
        (cross_sample_loss(student, teacher), slow_cross_sample_loss(student, teacher)),
    ):
        assert_equals_loop(fast, by_loop, student)


def test_loss_equals_public_implementation():
    """gist-ailab/feature-similarity-KD: metric/distill_loss.py cosine_loss, mean over stages as in train_student_multi.py, and
    face_recognition/metric/distill_loss.py cross_sample_kd with the next image of the batch as partner."""
    student_maps, teacher_maps = draw_maps()
    assert similarity_loss(student_maps, teacher_maps).item() == pytest.approx(1.003345885659863, rel=1e-9)
    assert cross_sample_loss(student_maps[-1], teacher_maps[-1]).item() == pytest.approx(2.0329450616403113, rel=1e-9)


def test_gradcheck():
    (student,), (teacher,) = draw_maps([(3, 2, 2, 2)])
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: similarity_loss([x], [teacher]) + cross_sample_loss(x, teacher), (student,))


def test_equal_maps_have_zero_loss_and_opposite_maps_the_maximum():
    (maps,) = draw_maps(count=1)
    assert similarity_loss(maps, [3 * m for m in maps]).item() == pytest.approx(0, abs=1e-12)
    assert similarity_loss(maps, [-m for m in maps]).item() == pytest.approx(2)
    last = maps[-1]
    assert cross_sample_loss(5 * last, last).item() == pytest.approx(0, abs=1e-12)
    # Both mixed tables change sign; the table of two student maps does not.
    assert cross_sample_loss(-last, last).item() == pytest.approx(2)


def test_affinity_of_two_images():
    """One channel, two positions: the outer product of the normalised maps."""
    one, other = torch.tensor([3.0, 4.0]).view(1, 1, 1, 2), torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(affinity(one, other), torch.tensor([[0.0, 0.6, 0.0, 0.8]]))


def test_affinity_ignores_rotation_of_channels():
    (student, teacher) = (maps[-1] for maps in draw_maps())
    rotation, _ = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64))
    rotated = torch.einsum("ij,bjhw->bihw", rotation, student)
    torch.testing.assert_close(affinity(rotated, rotated.roll(-1, 0)), affinity(student, student.roll(-1, 0)))


def test_term_weights_its_two_parts():
    torch.manual_seed(0)
    dims = LossDims(4, student_channels=(3, 4), teacher_channels=(5, 2))
    shapes = [((4, 3, 4, 4), (4, 4, 2, 2)), ((4, 5, 4, 4), (4, 2, 2, 2))]
    maps = [tuple(torch.randn(shape, requires_grad=True) for shape in shapes_of_network) for shapes_of_network in shapes]
    inputs = LossInputs(torch.eye(4), torch.arange(4), student_maps=maps[0], teacher_maps=maps[1])
    with_cross, without_cross = (FSKD(cross=cross).build(dims) for cross in (0.2, 0.0))
    adapted_maps = with_cross.adapters(maps[0])
    cross = cross_sample_loss(adapted_maps[-1], maps[1][-1])
    torch.testing.assert_close(with_cross(inputs), without_cross(inputs) + 0.2 * cross)
    torch.testing.assert_close(without_cross(inputs), similarity_loss(adapted_maps, maps[1]))
    with_cross(inputs).backward()
    assert all(m.grad is None for m in maps[1]) and all(m.grad.abs().sum() > 0 for m in maps[0])
    assert all(p.grad is not None for p in with_cross.parameters())


def test_single_zero_map_is_finite():
    zeros = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = similarity_loss([zeros], [torch.ones(1, 3, 2, 2)]) + cross_sample_loss(zeros, torch.ones(1, 3, 2, 2))
    loss.backward()
    assert loss.item() == pytest.approx(3) and torch.isfinite(zeros.grad).all()
    assert torch.isfinite(F.normalize(zeros.flatten(1))).all()


def test_negative_weight_is_rejected():
    with pytest.raises(ValueError, match="cross must be 0 or more; got -1"):
        FSKD(cross=-1.0)
