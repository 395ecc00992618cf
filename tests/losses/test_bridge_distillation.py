"""Bridge Distillation's two losses against naive implementations."""

import math

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.bridge_distillation import BridgeDistillation, BridgeDistillationLoss, adapter_loss, mimic_loss
from tests.losses.loops import assert_equals_loop


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_orthogonal_embeddings_have_loss_two_and_opposite_ones_four():
    adapted = torch.tensor([[2.0, 0], [0, 3]])
    assert mimic_loss(torch.tensor([[5.0, 0], [0, 1]]), adapted).item() == 0
    assert mimic_loss(torch.tensor([[0.0, 1], [-1, 0]]), adapted).item() == pytest.approx(2)
    assert mimic_loss(-adapted, adapted).item() == pytest.approx(4)


def test_mimic_loss_equals_loop_in_value_and_gradient():
    student, adapted = draw(5, 3).requires_grad_(), draw(5, 3, seed=1)
    slow = 0
    for s, t in zip(student, adapted, strict=True):
        for s_d, t_d in zip(s / s.norm(), t / t.norm(), strict=True):
            slow = slow + (t_d - s_d) ** 2 / 5
    fast = mimic_loss(student, adapted)
    assert_equals_loop(fast, slow, student)
    assert torch.autograd.gradcheck(lambda x: mimic_loss(x, adapted), (student,))


def test_mimic_loss_is_twice_one_minus_cosine():
    student, adapted = draw(6, 4), draw(6, 4, seed=1)
    expected = 2 * (1 - F.cosine_similarity(student, adapted)).mean()
    torch.testing.assert_close(mimic_loss(student, adapted), expected)
    rotation = torch.linalg.qr(draw(4, 4, seed=2))[0]
    torch.testing.assert_close(mimic_loss(7 * student @ rotation, adapted @ rotation / 3), expected)
    # The loss does not depend on the batch size.
    torch.testing.assert_close(mimic_loss(student.repeat(3, 1), adapted.repeat(3, 1)), expected)


def test_mimic_loss_has_no_teacher_gradient():
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


def test_different_widths_are_rejected():
    with pytest.raises(ValueError, match=r"one shape; got \(2, 3\) and \(2, 4\)"):
        mimic_loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"one shape; got \(2, 3\) and \(2, 4\)"):
        adapter_loss(
            torch.zeros(2, 3),
            torch.zeros(2, 3),
            torch.zeros(2, 4),
            torch.zeros(5, 3),
            torch.zeros(2).long(),
            BridgeDistillation(),
        )


def slow_adapter_loss(adapted, restored, teacher, centers, label, spec):
    """for each image: -log softmax with the margin on its own class + weighted 1 - cos to its center and to its teacher."""
    total = 0
    for i in range(len(adapted)):
        cosines = [F.cosine_similarity(adapted[i], center, dim=0) for center in centers]
        own = int(label[i])
        logits = [spec.scale * (torch.cos(torch.acos(c) + spec.margin) if n == own else c) for n, c in enumerate(cosines)]
        total = total - logits[own] + torch.stack(logits).logsumexp(0)
        total = total + spec.compactness * (1 - cosines[own])
        total = total + spec.closeness * (1 - F.cosine_similarity(restored[i], teacher[i], dim=0))
    return total / len(adapted)


@pytest.mark.parametrize(
    "spec", [BridgeDistillation(scale=4.0), BridgeDistillation(scale=8.0, margin=0.0, compactness=0.5, closeness=3.0)]
)
def test_adapter_loss_equals_loop_in_value_and_gradient(spec):
    adapted, restored, centers = (draw(*shape, seed=n).requires_grad_() for n, shape in enumerate(((4, 3), (4, 5), (6, 3))))
    teacher, label = draw(4, 5, seed=9), torch.tensor([0, 5, 2, 2])
    values = [loss(adapted, restored, teacher, centers, label, spec) for loss in (adapter_loss, slow_adapter_loss)]
    torch.testing.assert_close(*values)
    for x in (adapted, restored, centers):
        torch.testing.assert_close(*(torch.autograd.grad(value, x, retain_graph=True)[0] for value in values))
    assert torch.autograd.gradcheck(lambda a, r, c: adapter_loss(a, r, teacher, c, label, spec), (adapted, restored, centers))


def test_lossless_projection_has_only_the_softmax_loss():
    """Embeddings equal to their centers, which are the axes, and decoded without loss: log(1 + (C - 1) exp(s (0 - cos m)))."""
    axes, spec = torch.eye(3, dtype=torch.float64), BridgeDistillation(scale=2.0, margin=0.0)
    loss = adapter_loss(axes, axes, axes, axes, torch.arange(3), spec)
    assert loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-6)


def test_adapter_loss_has_no_teacher_gradient():
    teacher, adapted = draw(2, 3).requires_grad_(), draw(2, 3, seed=1).requires_grad_()
    adapter_loss(adapted, adapted, teacher, draw(4, 3, seed=2), torch.tensor([0, 3]), BridgeDistillation()).backward()
    assert teacher.grad is None and adapted.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"epochs": 0}, "epochs must be 1 or more; got 0"),
        ({"lr": 0.0}, "lr must be above 0 and at most 1; got 0.0"),
        ({"scale": -1.0}, "scale must be above 0"),
        ({"width": -1}, "width must be 0 or more; got -1"),
        ({"closeness": -0.5}, "closeness must be 0 or more"),
        ({"margin": float("nan")}, "margin must be an angle"),
    ],
)
def test_invalid_keys_are_rejected(keys, message):
    with pytest.raises(ValueError, match=message):
        BridgeDistillation(**keys)


def test_spec_builds_its_module():
    class LossInputs:
        student_BD = torch.eye(2)
        teacher_BD = -torch.eye(2)

    term = BridgeDistillation().build(None)
    assert isinstance(term, BridgeDistillationLoss) and term(LossInputs).item() == pytest.approx(4)
    assert not list(term.parameters())
