import math

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.margin import margin_logits, softmax_loss


def cosines(rows=6, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cosine = (torch.rand(rows, classes, generator=generator, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    return cosine, torch.randint(classes, (rows,), generator=generator)


def slow_logits(cosine, label, margins, scale):
    m1, m2, m3 = margins
    rows = []
    for row, y in zip(cosine, label.tolist(), strict=True):
        values = [scale * c if i != y else scale * (torch.cos(m1 * torch.acos(c) + m2) - m3) for i, c in enumerate(row)]
        rows.append(torch.stack(values))
    return torch.stack(rows)


@pytest.mark.parametrize("margins", [(1, 0.5, 0), (1, 0, 0.4), (1, 0.3, 0.2), (1.35, 0, 0), (1, 0, 0)])
def test_values_and_gradient_equal_loop(margins):
    cosine, label = cosines()
    fast, slow = margin_logits(cosine, label, margins, 30.0), slow_logits(cosine, label, margins, 30.0)
    torch.testing.assert_close(fast, slow)
    weights = torch.arange(1.0, 31, dtype=torch.float64).view(6, 5)
    gradients = [torch.autograd.grad((x * weights).sum(), cosine)[0] for x in (fast, slow)]
    torch.testing.assert_close(*gradients)


def test_known_geometry():
    """60 degrees from the own class with a margin of 30 degrees: cos 90 = 0."""
    logits = margin_logits(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), (1, math.pi / 6, 0), 10.0)
    torch.testing.assert_close(logits, torch.tensor([[0.0, 5.0]]), atol=1e-5, rtol=0)


def test_upstream_gradient_is_constant_with_equal_values():
    cosine, label = cosines()
    exact, upstream = (margin_logits(cosine, label, (1, 0.5, 0), 64.0, g) for g in ("exact", "upstream"))
    torch.testing.assert_close(exact, upstream)
    own = torch.zeros_like(cosine).scatter_(1, label[:, None], 1).bool()
    flat = torch.autograd.grad(upstream.sum(), cosine)[0]
    torch.testing.assert_close(flat, torch.full_like(flat, 64.0))
    true = torch.autograd.grad(exact.sum(), cosine)[0]
    angle = torch.acos(cosine.detach()[own])
    torch.testing.assert_close(true[own], 64 * torch.sin(angle + 0.5) / torch.sin(angle))


def test_gradcheck_through_softmax_loss():
    cosine, label = cosines(3, 4)
    assert torch.autograd.gradcheck(lambda c: softmax_loss(margin_logits(c, label, (1, 0.5, 0), 8.0), label), (cosine,))


@pytest.mark.parametrize("own", [1.0, -1.0])
def test_gradient_is_finite_at_cosine_limits(own):
    cosine = torch.tensor([[own, 0.0]], requires_grad=True)
    softmax_loss(margin_logits(cosine, torch.tensor([0])), torch.tensor([0])).backward()
    assert torch.isfinite(cosine.grad).all()


def test_row_of_another_rank_has_no_margin():
    cosine, _ = cosines()
    torch.testing.assert_close(margin_logits(cosine, torch.full((6,), -1), scale=2.0), 2 * cosine)


def test_softmax_loss_equals_cross_entropy():
    cosine, label = cosines()
    torch.testing.assert_close(softmax_loss(20 * cosine, label), F.cross_entropy(20 * cosine, label))


def test_errors_report_received_values():
    cosine, label = cosines()
    with pytest.raises(ValueError, match="exact, upstream; got 'straight'"):
        margin_logits(cosine, label, gradient="straight")
    with pytest.raises(ValueError, match="labels"):
        margin_logits(cosine, label[:2])
