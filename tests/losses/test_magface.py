import math

import pytest
import torch

from aird_plugin.losses.magface import MagFace
from aird_plugin.losses.margin import softmax_loss
from tests.losses.margin_inputs import LABEL, cosines, doubles, far, near


def slow(cosine, label, norm, spec, scale):
    """A loop over faces: logits, and the mean of g."""
    rows, g = [], 0
    for row, y, length in zip(cosine, label.tolist(), norm, strict=True):
        a = length.clamp(spec.l_a, spec.u_a)
        m = spec.l_margin + (spec.u_margin - spec.l_margin) * (a - spec.l_a) / (spec.u_a - spec.l_a)
        own = torch.cos(torch.acos(row[y]) + m) if row[y] > 0 else row[y]
        rows.append(torch.stack([scale * (own if i == y else c) for i, c in enumerate(row)]))
        g = g + (a / spec.u_a**2 + 1 / a) / len(cosine)
    return torch.stack(rows), spec.lambda_g * g


def lengths(rows=6):
    return (torch.arange(1, rows + 1, dtype=torch.float64) * 3).requires_grad_()


def test_values_and_gradients_equal_the_loop():
    spec, (cosine, label), norm = MagFace(l_a=5.0, u_a=14.0), doubles(), lengths()
    fast, slowly = spec.build(30.0)(cosine, label, norm), slow(cosine, label, norm, spec, 30.0)
    weights = torch.arange(1.0, 31, dtype=torch.float64).view(6, 5)
    grads = [torch.autograd.grad((x * weights).sum() + r, (cosine, norm)) for x, r in (fast, slowly)]
    torch.testing.assert_close(fast, slowly)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(("faces", "identity", "gradient"), [(far, 39.730892, 21.013746), (near, 18.662025, 13.476647)])
def test_the_authors_figures(faces, identity, gradient):
    """IrvingMeng/MagFace models/magface.py: MagLinear(scale=64) and MagLoss(10, 110, .45, .8), loss + 35 * loss_g."""
    face, centre, _ = faces()
    face.requires_grad_()
    logits, regulariser = MagFace().build(64.0)(cosines(face, centre), LABEL, face.norm(dim=1))
    loss = softmax_loss(logits, LABEL)
    assert loss.item() == pytest.approx(identity, rel=1e-5)
    assert regulariser.item() == pytest.approx(35 * 0.06383205, rel=1e-5)
    (loss + regulariser).backward()
    assert face.grad.abs().sum().item() == pytest.approx(gradient, rel=1e-4)


def test_gradcheck():
    spec, (cosine, label), norm = MagFace(l_a=5.0, u_a=14.0), doubles(4, 4), lengths(4)

    def loss(c, n):
        logits, regulariser = spec.build(8.0)(c, label, n)
        return softmax_loss(logits, label) + regulariser

    assert torch.autograd.gradcheck(loss, (cosine, norm))


def test_geometry_in_the_head():
    """30 degrees from its class, half of the way from l_a to u_a between margins of 0 and 60 degrees: cos 60."""
    spec = MagFace(l_a=2.0, u_a=4.0, l_margin=0.0, u_margin=math.pi / 3)
    cosine = torch.tensor([[math.sqrt(0.75), 0.1]])
    logits, _ = spec.build(10.0)(cosine, torch.tensor([0]), torch.tensor([3.0]))
    torch.testing.assert_close(logits, torch.tensor([[5.0, 1.0]]), atol=1e-4, rtol=0)


def test_a_longer_embedding_has_the_wider_margin_and_the_cheaper_regulariser():
    margin, cosine, label = MagFace().build(64.0), torch.tensor([[0.5, 0.1]]), torch.tensor([0])
    short, long = (margin(cosine, label, torch.tensor([length])) for length in (20.0, 90.0))
    assert long[0][0, 0] < short[0][0, 0] and long[1] < short[1]


def test_a_class_elsewhere_leaves_the_row_and_the_regulariser_alone():
    cosine, _ = doubles()
    logits, regulariser = MagFace().build(2.0)(cosine, torch.full((6,), -1), lengths())
    torch.testing.assert_close(logits, 2 * cosine)
    assert regulariser.item() == 0


def test_finite_for_an_embedding_of_zeros_and_at_the_ends():
    face = torch.zeros(2, 3, requires_grad=True)
    cosine = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    logits, regulariser = MagFace().build(64.0)(cosine, torch.tensor([0, 0]), face.norm(dim=1))
    (softmax_loss(logits, torch.tensor([0, 0])) + regulariser).backward()
    assert torch.isfinite(face.grad).all() and torch.isfinite(cosine.grad).all()


@pytest.mark.parametrize(("keys", "words"), [
    ({"l_a": 20.0, "u_a": 10.0}, "got 20.0 and 10.0"), ({"l_margin": 0.9}, "got 0.9 and 0.8"), ({"lambda_g": -1.0}, "got -1.0"),
])  # fmt: skip
def test_wrong_keys_are_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        MagFace(**keys)
