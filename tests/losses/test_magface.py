import math

import pytest
import torch

from aird_plugin.losses.magface import MagFace
from aird_plugin.losses.margin import softmax_loss
from tests.losses.margin_inputs import LABEL, clustered_embeddings, cosines, float64_cosines, random_embeddings


def slow(cosine, label, norm, spec, scale):
    """A loop over images: logits, and the mean of g."""
    rows, g = [], 0
    for row, y, value in zip(cosine, label.tolist(), norm, strict=True):
        a = value.clamp(spec.l_a, spec.u_a)
        m = spec.l_margin + (spec.u_margin - spec.l_margin) * (a - spec.l_a) / (spec.u_a - spec.l_a)
        own = torch.cos(torch.acos(row[y]) + m) if row[y] > 0 else row[y]
        rows.append(torch.stack([scale * (own if i == y else c) for i, c in enumerate(row)]))
        g = g + (a / spec.u_a**2 + 1 / a) / len(cosine)
    return torch.stack(rows), spec.lambda_g * g


def make_norms(rows=6):
    return (torch.arange(1, rows + 1, dtype=torch.float64) * 3).requires_grad_()


def test_values_and_gradients_equal_loop():
    spec, (cosine, label), norm = MagFace(l_a=5.0, u_a=14.0), float64_cosines(), make_norms()
    fast, expected = spec.build(30.0)(cosine, label, norm), slow(cosine, label, norm, spec, 30.0)
    weights = torch.arange(1.0, 31, dtype=torch.float64).view(6, 5)
    grads = [torch.autograd.grad((x * weights).sum() + r, (cosine, norm)) for x, r in (fast, expected)]
    torch.testing.assert_close(fast, expected)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ("make_embeddings", "identity", "gradient"),
    [(random_embeddings, 39.730892, 21.013746), (clustered_embeddings, 18.662025, 13.476647)],
)
def test_loss_equals_authors_code(make_embeddings, identity, gradient):
    """IrvingMeng/MagFace models/magface.py: MagLinear(scale=64) and MagLoss(10, 110, .45, .8), loss + 35 * loss_g."""
    student, centers, _ = make_embeddings()
    student.requires_grad_()
    logits, regulariser = MagFace().build(64.0)(cosines(student, centers), LABEL, student.norm(dim=1))
    loss = softmax_loss(logits, LABEL)
    assert loss.item() == pytest.approx(identity, rel=1e-5)
    assert regulariser.item() == pytest.approx(35 * 0.06383205, rel=1e-5)
    (loss + regulariser).backward()
    assert student.grad.abs().sum().item() == pytest.approx(gradient, rel=1e-4)


def test_gradcheck():
    spec, (cosine, label), norm = MagFace(l_a=5.0, u_a=14.0), float64_cosines(4, 4), make_norms(4)

    def loss(c, n):
        logits, regulariser = spec.build(8.0)(c, label, n)
        return softmax_loss(logits, label) + regulariser

    assert torch.autograd.gradcheck(loss, (cosine, norm))


def test_known_geometry():
    """30 degrees from the own class, norm halfway between l_a and u_a, margins of 0 and 60 degrees: cos 60."""
    spec = MagFace(l_a=2.0, u_a=4.0, l_margin=0.0, u_margin=math.pi / 3)
    cosine = torch.tensor([[math.sqrt(0.75), 0.1]])
    logits, _ = spec.build(10.0)(cosine, torch.tensor([0]), torch.tensor([3.0]))
    torch.testing.assert_close(logits, torch.tensor([[5.0, 1.0]]), atol=1e-4, rtol=0)


def test_larger_norm_has_larger_margin_and_smaller_regulariser():
    margin, cosine, label = MagFace().build(64.0), torch.tensor([[0.5, 0.1]]), torch.tensor([0])
    small, large = (margin(cosine, label, torch.tensor([value])) for value in (20.0, 90.0))
    assert large[0][0, 0] < small[0][0, 0] and large[1] < small[1]


def test_row_of_another_rank_has_no_margin_and_no_regulariser():
    cosine, _ = float64_cosines()
    logits, regulariser = MagFace().build(2.0)(cosine, torch.full((6,), -1), make_norms())
    torch.testing.assert_close(logits, 2 * cosine)
    assert regulariser.item() == 0


def test_gradient_is_finite_for_zero_embeddings_and_cosine_limits():
    student = torch.zeros(2, 3, requires_grad=True)
    cosine = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    logits, regulariser = MagFace().build(64.0)(cosine, torch.tensor([0, 0]), student.norm(dim=1))
    (softmax_loss(logits, torch.tensor([0, 0])) + regulariser).backward()
    assert torch.isfinite(student.grad).all() and torch.isfinite(cosine.grad).all()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"l_a": 20.0, "u_a": 10.0}, "got 20.0 and 10.0"),
        ({"l_margin": 0.9}, "got 0.9 and 0.8"),
        ({"lambda_g": -1.0}, "got -1.0"),
    ],
)
def test_invalid_keys_are_rejected(keys, message):
    with pytest.raises(ValueError, match=message):
        MagFace(**keys)
