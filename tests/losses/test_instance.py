import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.divergence import decoupled
from aird_plugin.losses.instance import IID, IIDLoss, instance_loss
from aird_plugin.training.objective import LossInputs


def logits(rows=5, classes=7, spread=3.0, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    student = (torch.randn(rows, classes, generator=generator, dtype=dtype) * spread).requires_grad_()
    teacher = torch.randn(rows, classes, generator=generator, dtype=dtype) * spread
    return student, teacher, torch.randint(classes, (rows,), generator=generator)


def slow_equation_6(student, teacher, label):
    """AIRD's equation 6 as printed: probabilities, a loop over images and classes."""
    total = 0
    for s, t, y in zip(student, teacher, label.tolist(), strict=True):
        ps, pt = s.softmax(0), t.softmax(0)
        others = [i for i in range(len(s)) if i != y]
        ps_not, pt_not = sum(ps[i] for i in others), sum(pt[i] for i in others)
        total = total + pt[y] * (pt[y] / ps[y]).log() + pt_not * (pt_not / ps_not).log()
        for i in others:
            total = total + pt_not * (pt[i] / pt_not) * ((pt[i] / pt_not) / (ps[i] / ps_not)).log()
    return total / len(student)


def slow_dkd(student, teacher, label, alpha, beta, temperature):
    """DKD as its paper defines it: binary KL on (target, rest), KL on the renormalised rest."""
    total = 0
    for s, t, y in zip(student / temperature, teacher / temperature, label.tolist(), strict=True):
        ps, pt = s.softmax(0), t.softmax(0)
        others = [i for i in range(len(s)) if i != y]
        target = pt[y] * (pt[y] / ps[y]).log() + (1 - pt[y]) * ((1 - pt[y]) / (1 - ps[y])).log()
        qs, qt = s[others].softmax(0), t[others].softmax(0)
        total = total + alpha * target + beta * (qt * (qt / qs).log()).sum()
    return total / len(student) * temperature**2


def assert_same_value_and_gradient(fast, slow, student):
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(torch.autograd.grad(fast, student)[0], torch.autograd.grad(slow, student)[0])


def test_value_and_gradient_equal_equation_6():
    student, teacher, label = logits()
    assert_same_value_and_gradient(instance_loss(student, teacher, label), slow_equation_6(student, teacher, label), student)


def test_loss_equals_plain_kl_at_recipe_scale():
    student, teacher, label = logits(96, 500, spread=1.0, dtype=torch.float32)
    student, teacher = 16 * student.tanh(), 16 * teacher.tanh()
    plain = F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="batchmean")
    assert abs(instance_loss(student, teacher, label).item() / plain.item() - 1) < 1e-6


@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1, 8, 4), (1, 1, 1), (0, 2, 1), (3, 0, 2)])
def test_dkd_equals_published_decomposition(alpha, beta, temperature):
    student, teacher, label = logits()
    fast = instance_loss(student, teacher, label, "dkd", alpha, beta, temperature)
    assert_same_value_and_gradient(fast, slow_dkd(student, teacher, label, alpha, beta, temperature), student)


@pytest.mark.parametrize(
    ("variant", "alpha", "beta", "temperature", "expected"),
    [
        ("dkd", 1, 8, 4, 55.402019773402664),
        ("dkd", 1, 0.5, 1, 1.676550231579141),
        ("dkd", 2, 0, 3, 1.33531885061631),
        ("kl", 1, 1, 1, 2.9898284395696915),
        ("kl", 1, 1, 4, 6.585704793999193),
    ],
)
def test_loss_equals_mdistiller(variant, alpha, beta, temperature, expected):
    """megvii-research/mdistiller, mdistiller/distillers/DKD.py and KD.py at a08d46f, in float64 on `logits()`."""
    student, teacher, label = logits()
    assert instance_loss(student, teacher, label, variant, alpha, beta, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_dkd_parts_with_kl_weights_equal_kl():
    student, teacher, label = logits(rows=1)
    target_B, other_B = decoupled(student, teacher, label)
    rest = 1 - teacher.softmax(1)[0, label[0]]
    torch.testing.assert_close(target_B[0] + rest * other_B[0], instance_loss(student, teacher, label))


@pytest.mark.parametrize("variant", ["kl", "dkd"])
def test_gradcheck(variant):
    student, teacher, label = logits(3, 5)
    assert torch.autograd.gradcheck(lambda s: instance_loss(s, teacher, label, variant, temperature=2.0), (student,))


def test_two_classes_match_hand_computed_value():
    """Teacher uniform (1/2, 1/2), student (3/4, 1/4): KL = -log(3/4)/2 - log(1/4)/2 - log 2."""
    student = torch.tensor([[math.log(3.0), 0.0]])
    expected = -0.5 * math.log(0.75) - 0.5 * math.log(0.25) - math.log(2)
    assert instance_loss(student, torch.zeros(1, 2), torch.tensor([0])).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("variant", ["kl", "dkd"])
def test_equal_logits_have_zero_loss_and_shifts_are_ignored(variant):
    student, teacher, label = logits()
    assert instance_loss(teacher, teacher, label, variant).item() == pytest.approx(0, abs=1e-12)
    shifted = instance_loss(student + 5, teacher - 3, label, variant)
    torch.testing.assert_close(shifted, instance_loss(student, teacher, label, variant))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", ["kl", "dkd"])
def test_loss_is_finite_for_confidently_wrong_student(variant, dtype):
    student = torch.tensor([[64.0, -64, -64], [-64, 64, 64]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-64.0, 64, -64], [64, -64, -64]], dtype=dtype)
    loss = instance_loss(student, teacher, torch.tensor([1, 0]), variant)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()


def log_space(student_BC, teacher_BC, variant):
    """Both variants from log probabilities in float64, with target class 0; beta 8."""
    log_s_BC, log_t_BC = student_BC.log_softmax(1), teacher_BC.log_softmax(1)
    if variant == "kl":
        return (log_t_BC.exp() * (log_t_BC - log_s_BC)).sum(1).mean()
    pairs = [
        (
            torch.stack([log_s_BC[:, 0], log_s_BC[:, 1:].logsumexp(1)], 1),
            torch.stack([log_t_BC[:, 0], log_t_BC[:, 1:].logsumexp(1)], 1),
            1,
        ),
        (student_BC[:, 1:].log_softmax(1), teacher_BC[:, 1:].log_softmax(1), 8),
    ]
    return sum(weight * (log_t.exp() * (log_t - log_s)).sum(1) for log_s, log_t, weight in pairs).mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("variant", ["kl", "dkd"])
def test_loss_is_exact_at_every_corner_of_logit_range(variant, dtype):
    """Three logits of -64, 0, 0.5 or 64 each: all student combinations against all teacher combinations."""
    corners = torch.tensor(list(itertools.product([-64.0, 0.0, 0.5, 64.0], repeat=3)))
    student, teacher = (x.flatten(0, 1) for x in (corners[:, None].expand(-1, 64, -1), corners.expand(64, -1, -1)))
    student = student.to(dtype).requires_grad_()
    loss = instance_loss(student, teacher.to(dtype), torch.zeros(64 * 64, dtype=torch.int64), variant)
    expected = log_space(exact := student.detach().double().requires_grad_(), teacher.double(), variant)
    torch.testing.assert_close(loss.double(), expected, rtol=4 * 128 * 2**-24, atol=0)
    gradient, exact_gradient = torch.autograd.grad(loss, student)[0].double(), torch.autograd.grad(expected, exact)[0]
    # exp of a logit difference up to 128 has a relative error of 128 u, u = 6e-8, and the loss divides two such values; a
    # half-precision gradient has two or three digits.
    tolerance = 4 * 128 * 2**-24 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(len(student) * gradient, len(student) * exact_gradient, rtol=tolerance, atol=tolerance)


def test_term_equals_loss_of_scaled_cosines():
    student, teacher, label = logits(spread=0.3)
    inputs = LossInputs(student, label, student_cosine_GC=student, teacher_cosine_GC=teacher, label_G=label)
    for variant in ("kl", "dkd"):
        fast = IIDLoss(IID(scale=16.0, variant=variant, temperature=4.0))(inputs)
        assert_same_value_and_gradient(fast, instance_loss(16 * student, 16 * teacher, label, variant, temperature=4.0), student)


def test_teacher_has_no_gradient():
    student, teacher, label = logits()
    teacher.requires_grad_()
    instance_loss(student, teacher, label).backward()
    assert teacher.grad is None


def test_row_of_another_rank_counts_in_kl():
    student, teacher, label = logits()
    torch.testing.assert_close(
        instance_loss(student, teacher, torch.full_like(label, -1)), instance_loss(student, teacher, label)
    )


def test_errors_report_received_values():
    student, teacher, label = logits()
    with pytest.raises(ValueError, match="kl, dkd; got 'ld'"):
        instance_loss(student, teacher, label, "ld")
    with pytest.raises(ValueError, match=r"one shape; got \(5, 7\) and \(5, 6\)"):
        instance_loss(student, teacher[:, :6], label)
    with pytest.raises(ValueError, match="labels"):
        instance_loss(student, teacher, label[:3])
    with pytest.raises(ValueError, match="scale must be above 0; got -1"):
        IID(scale=-1)
