import math

import pytest
import torch

from aird_plugin.losses.ccface import AdaptiveMargin, Consistency, consistency_loss
from aird_plugin.losses.instance import instance_loss
from aird_plugin.losses.margin import softmax_loss
from aird_plugin.training.objective import LossDims, LossInputs, Objective
from tests.losses.loops import assert_equals_loop
from tests.losses.margin_inputs import float64_cosines


def logits(rows=6, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, classes, generator=generator, dtype=torch.float64).requires_grad_()
    return student, 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def slow_consistency(student, teacher, threshold):
    total, count = 0, 0
    for s, t in zip(student, teacher, strict=True):
        p, q = t.softmax(0), s.softmax(0)
        if p.max() > threshold:
            total, count = total + (p * (p / q).log()).sum(), count + 1
    return total / len(student), count / len(student)


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.9])
def test_consistency_equals_loop_in_value_and_gradient(threshold):
    student, teacher = logits()
    (fast, share), (slow, count) = consistency_loss(student, teacher, threshold), slow_consistency(student, teacher, threshold)
    assert share.item() == pytest.approx(count) and (0 < count < 1 or threshold == 0)
    assert_equals_loop(fast, slow, student)


def test_loss_without_threshold_equals_kl():
    student, teacher = logits()
    loss, share = consistency_loss(student, teacher, 0.0)
    torch.testing.assert_close(loss, instance_loss(student, teacher, torch.zeros(6, dtype=torch.int64)))
    assert share == 1


def test_only_confident_images_have_student_gradient():
    student = torch.zeros(2, 3, requires_grad=True)
    teacher = torch.tensor([[9.0, 0, 0], [0, 0, 0]], requires_grad=True)
    loss, share = consistency_loss(student, teacher, 0.95)
    loss.backward()
    assert share == 0.5 and student.grad[0].abs().sum() > 0 and student.grad[1].abs().sum() == 0 and teacher.grad is None
    assert student.grad[0, 0] < 0 < student.grad[0, 1]


def test_batch_without_confident_images_has_zero_loss():
    student = torch.randn(3, 4, requires_grad=True)
    loss, share = consistency_loss(student, torch.zeros(3, 4), 0.95)
    loss.backward()
    assert loss == 0 and share == 0 and not student.grad.any()


def test_two_classes_match_hand_computed_value():
    """Teacher (3/4, 1/4), student (1/2, 1/2)."""
    loss, _ = consistency_loss(torch.zeros(1, 2), torch.tensor([[math.log(3.0), 0.0]]), 0.7)
    assert loss.item() == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student = torch.tensor([[60.0, -60], [-60, 60]], dtype=dtype, requires_grad=True)
    loss, _ = consistency_loss(student, -student.detach(), 0.95)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(120) and torch.isfinite(student.grad).all()


def test_gradcheck():
    student, teacher = logits(3, 4)
    assert torch.autograd.gradcheck(lambda s: consistency_loss(s, teacher, 0.5)[0], (student,))


def test_objective_reports_share_as_metric():
    student, teacher = (x.detach().tanh() for x in logits())
    objective = Objective({"consistency": Consistency(weight=2.0, scale=4.0, threshold=0.8)}, LossDims(8))
    label = torch.zeros(6, dtype=torch.int64)
    inputs = LossInputs(student.new_zeros(6, 8), label, student_cosine_GC=student, teacher_cosine_GC=teacher, label_G=label)
    out = objective(inputs, torch.tensor(1.0))
    loss, share = consistency_loss(4 * student, 4 * teacher, 0.8)
    assert set(out) == {"loss", "identity", "consistency", "consistency_share"} and 0 < share < 1
    assert out["consistency_share"] == share and out["loss"].item() == pytest.approx(1 + 2 * loss.item())
    assert not objective.state_dict()


def slow_margin(cosine, label, agreement, m, scale):
    rows = []
    for row, y, a in zip(cosine, label.tolist(), agreement.tolist(), strict=True):
        own = torch.cos(torch.acos(row[y]) + m * min(max(a, 0), 1)) if row[y] > 0 else row[y]
        rows.append(torch.stack([scale * (own if i == y else c) for i, c in enumerate(row)]))
    return torch.stack(rows)


def test_margin_equals_loop_in_value_and_gradient():
    (cosine, label), agreement = float64_cosines(), torch.linspace(-0.5, 1, 6, dtype=torch.float64).requires_grad_()
    fast, regulariser = AdaptiveMargin().build(30.0)(cosine, label, None, agreement)
    slow = slow_margin(cosine, label, agreement, 0.5, 30.0)
    weights = torch.arange(1.0, 31, dtype=torch.float64).view(6, 5)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(*(torch.autograd.grad((x * weights).sum(), cosine)[0] for x in (fast, slow)))
    assert regulariser is None
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(AdaptiveMargin().build(30.0)(cosine, label, None, agreement)[0].sum(), agreement)


def test_margin_grows_with_agreement():
    """60 degrees from the own class, m of 30 degrees: cos 60 for an agreement of 0 or less, cos 90 for 1."""
    cosine, label = torch.full((3, 2), 0.5), torch.zeros(3, dtype=torch.int64)
    logits, _ = AdaptiveMargin(math.pi / 6).build(10.0)(cosine, label, None, torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(logits[:, 0], torch.tensor([5.0, 5.0, 0.0]), atol=1e-5, rtol=0)


def test_margin_gradcheck():
    (cosine, label), agreement = float64_cosines(4, 4), torch.linspace(-0.5, 1, 4, dtype=torch.float64)
    margin = AdaptiveMargin().build(8.0)
    assert torch.autograd.gradcheck(lambda c: softmax_loss(margin(c, label, None, agreement)[0], label), (cosine,))


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        (Consistency, {"threshold": 1.0}, "0 to below 1; got 1.0"),
        (Consistency, {"scale": 0.0}, "scale must be above 0"),
        (AdaptiveMargin, {"m": -1.0}, "m must be an angle"),
    ],
)
def test_invalid_keys_are_rejected(kind, keys, message):
    with pytest.raises(ValueError, match=message):
        kind(**keys)
