"""Bridge Distillation's two losses, against the formulas by hand."""

import math

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.adapted import Adapted, MimicLoss, adapter_loss, mimic_loss


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_a_right_angle_is_two_and_the_opposite_is_four():
    adapted = torch.tensor([[2.0, 0], [0, 3]])
    assert mimic_loss(torch.tensor([[5.0, 0], [0, 1]]), adapted).item() == 0
    assert mimic_loss(torch.tensor([[0.0, 1], [-1, 0]]), adapted).item() == pytest.approx(2)
    assert mimic_loss(-adapted, adapted).item() == pytest.approx(4)


def test_mimicking_equals_the_loop_in_value_and_gradient():
    student, adapted = draw(5, 3).requires_grad_(), draw(5, 3, seed=1)
    slow = 0
    for s, t in zip(student, adapted, strict=True):
        for s_d, t_d in zip(s / s.norm(), t / t.norm(), strict=True):
            slow = slow + (t_d - s_d) ** 2 / 5
    fast = mimic_loss(student, adapted)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (fast, slow)))
    assert torch.autograd.gradcheck(lambda x: mimic_loss(x, adapted), (student,))


def test_mimicking_is_twice_one_minus_the_cosine_whatever_the_lengths_and_axes():
    student, adapted = draw(6, 4), draw(6, 4, seed=1)
    expected = 2 * (1 - F.cosine_similarity(student, adapted)).mean()
    torch.testing.assert_close(mimic_loss(student, adapted), expected)
    rotation = torch.linalg.qr(draw(4, 4, seed=2))[0]
    torch.testing.assert_close(mimic_loss(7 * student @ rotation, adapted @ rotation / 3), expected)
    # The weight holds for any batch.
    torch.testing.assert_close(mimic_loss(student.repeat(3, 1), adapted.repeat(3, 1)), expected)


def test_no_gradient_reaches_the_adapted_teacher():
    student, adapted = draw(2, 3).requires_grad_(), draw(2, 3, seed=1).requires_grad_()
    mimic_loss(student, adapted).backward()
    assert adapted.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, adapted = draw(4, 512, dtype=torch.float32) * 200, draw(4, 512, seed=1, dtype=torch.float32)
    half = student.to(dtype)
    loss = mimic_loss(half, adapted)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, mimic_loss(half.float(), adapted))


def test_degenerate_batches_stay_finite():
    student = torch.zeros(1, 3, requires_grad=True)
    loss = mimic_loss(student, torch.ones(1, 3))
    loss.backward()
    assert loss.item() == pytest.approx(1) and torch.isfinite(student.grad).all()


def test_two_widths_are_refused():
    with pytest.raises(ValueError, match=r"student \(2, 3\), adapted \(2, 4\)"):
        mimic_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"one shape; got \(2, 3\) and \(2, 4\)"):
        adapter_loss(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 4), torch.zeros(5, 3), torch.zeros(2).long(), Adapted())


def slow_adapter_loss(adapted, restored, teacher, centres, label, spec):
    """for every face: -log softmax with the margin on its own class + weighted 1 - cos to its centre and to its teacher."""
    total = 0
    for face in range(len(adapted)):
        cosines = [F.cosine_similarity(adapted[face], centre, dim=0) for centre in centres]
        own = int(label[face])
        logits = [spec.scale * (torch.cos(torch.acos(c) + spec.margin) if n == own else c) for n, c in enumerate(cosines)]
        total = total - logits[own] + torch.stack(logits).logsumexp(0)
        total = total + spec.compactness * (1 - cosines[own])
        total = total + spec.closeness * (1 - F.cosine_similarity(restored[face], teacher[face], dim=0))
    return total / len(adapted)


@pytest.mark.parametrize("spec", [Adapted(scale=4.0), Adapted(scale=8.0, margin=0.0, compactness=0.5, closeness=3.0)])
def test_adapting_equals_the_loop_in_value_and_gradient(spec):
    adapted, restored, centres = (draw(*shape, seed=n).requires_grad_() for n, shape in enumerate(((4, 3), (4, 5), (6, 3))))
    teacher, label = draw(4, 5, seed=9), torch.tensor([0, 5, 2, 2])
    values = [loss(adapted, restored, teacher, centres, label, spec) for loss in (adapter_loss, slow_adapter_loss)]
    torch.testing.assert_close(*values)
    for x in (adapted, restored, centres):
        torch.testing.assert_close(*(torch.autograd.grad(value, x, retain_graph=True)[0] for value in values))
    assert torch.autograd.gradcheck(
        lambda a, r, c: adapter_loss(a, r, teacher, c, label, spec), (adapted, restored, centres)
    )  # fmt: skip


def test_a_perfect_adapter_pays_the_softmax_alone():
    """Faces on their own centres, which are the axes, restored without loss: log(1 + (C - 1) exp(s (0 - cos m)))."""
    axes, spec = torch.eye(3, dtype=torch.float64), Adapted(scale=2.0, margin=0.0)
    loss = adapter_loss(axes, axes, axes, axes, torch.arange(3), spec)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)


def test_no_gradient_of_adapting_reaches_the_teacher():
    teacher, adapted = draw(2, 3).requires_grad_(), draw(2, 3, seed=1).requires_grad_()
    adapter_loss(adapted, adapted, teacher, draw(4, 3, seed=2), torch.tensor([0, 3]), Adapted()).backward()
    assert teacher.grad is None and adapted.grad.abs().sum() > 0


@pytest.mark.parametrize(("keys", "says"), [
    ({"epochs": 0}, "epochs must be 1 or more; got 0"), ({"lr": 0.0}, "lr is above 0, at most 1; got 0.0"),
    ({"scale": -1.0}, "scale must be above 0"), ({"width": -1}, "width must be 0 or more; got -1"),
    ({"closeness": -0.5}, "closeness must be 0 or more"), ({"margin": float("nan")}, "margin must be 0 or more"),
])  # fmt: skip
def test_keys_are_checked(keys, says):
    with pytest.raises(ValueError, match=says):
        Adapted(**keys)


def test_the_spec_builds_its_module():
    class Views:
        student_BD = torch.eye(2)
        teacher_BD = -torch.eye(2)

    term = Adapted().build(None)
    assert isinstance(term, MimicLoss) and term(Views).item() == pytest.approx(4)
    assert not list(term.parameters())
