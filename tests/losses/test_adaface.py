import math

import pytest
import torch

from aird_plugin.losses.adaface import AdaFace, adaptive_logits
from aird_plugin.losses.margin import softmax_loss
from tests.losses.margin_inputs import LABEL, clustered_embeddings, cosines, float64_cosines, random_embeddings


def slow(cosine, label, quality, m, scale):
    rows = []
    for row, y, z in zip(cosine, label.tolist(), quality, strict=True):
        own = torch.cos(torch.acos(row[y]) - m * z) - (m + m * z)
        rows.append(torch.stack([scale * (own if i == y else c) for i, c in enumerate(row)]))
    return torch.stack(rows)


def test_values_and_gradient_equal_loop():
    cosine, label = float64_cosines()
    quality = torch.linspace(-1, 1, 6, dtype=torch.float64)
    fast, expected = adaptive_logits(cosine, label, quality, 0.4, 30.0), slow(cosine, label, quality, 0.4, 30.0)
    weights = torch.arange(1.0, 31, dtype=torch.float64).view(6, 5)
    torch.testing.assert_close(fast, expected)
    torch.testing.assert_close(*(torch.autograd.grad((x * weights).sum(), cosine)[0] for x in (fast, expected)))


@pytest.mark.parametrize(
    ("make_embeddings", "t_alpha", "first", "second"),
    [
        (random_embeddings, 1.0, 43.136219, 43.136219),
        (random_embeddings, 0.5, 43.169434, 43.153012),
        (clustered_embeddings, 1.0, 13.951673, 13.951673),
        (clustered_embeddings, 0.5, 13.731175, 13.792077),
    ],
)
def test_loss_equals_authors_code(make_embeddings, t_alpha, first, second):
    """mk-minchul/AdaFace head.py: AdaFace(m=.4, h=.333, s=64), the same batch twice."""
    student, centers, _ = make_embeddings()
    margin = AdaFace(t_alpha=t_alpha).build(64.0)
    for expected in (first, second):
        logits, regulariser = margin(cosines(student, centers), LABEL, student.norm(dim=1))
        assert softmax_loss(logits, LABEL).item() == pytest.approx(expected, rel=1e-5)
    assert regulariser is None
    mean, std = (29.064613, 36.453667) if t_alpha == 1 else (26.798460, 52.340252)
    assert margin.mean.item() == pytest.approx(mean, rel=1e-5) and margin.std.item() == pytest.approx(std, rel=1e-5)


def test_gradcheck():
    cosine, label = float64_cosines(4, 4)
    quality = torch.linspace(-1, 1, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda c: softmax_loss(adaptive_logits(c, label, quality, 0.4, 8.0), label), (cosine,))


def test_known_geometry():
    """60 degrees from the own class, m = 30 degrees in radians: cos 90 at z = -1, cos 60 - m at 0, cos 30 - 2 m at 1."""
    m = math.pi / 6
    logits = adaptive_logits(torch.full((3, 2), 0.5), torch.zeros(3, dtype=torch.int64), torch.tensor([-1.0, 0, 1]), m, 1.0)
    expected = torch.tensor([0.0, 0.5 - m, math.sqrt(0.75) - 2 * m])
    torch.testing.assert_close(logits[:, 0], expected, atol=1e-5, rtol=0)


def test_margin_depends_on_relative_norms_without_gradient():
    margin, cosine = AdaFace(t_alpha=1.0).build(8.0), torch.full((3, 2), 0.5)
    norm = torch.tensor([9.0, 10.0, 11.0], requires_grad=True)
    logits, _ = margin(cosine, torch.zeros(3, dtype=torch.int64), norm)
    assert not logits.requires_grad and len({round(v, 5) for v in logits[:, 0].tolist()}) == 3
    scaled, _ = AdaFace(t_alpha=1.0).build(8.0)(cosine, torch.zeros(3, dtype=torch.int64), 3 * norm)
    torch.testing.assert_close(logits, scaled, rtol=1e-3, atol=1e-3)


def test_running_statistics_are_saved_and_restored():
    student, centers, _ = random_embeddings()
    one, other = AdaFace().build(8.0), AdaFace().build(8.0)
    one(cosines(student, centers), LABEL, student.norm(dim=1))
    assert set(one.state_dict()) == {"mean", "std"} and one.mean != other.mean
    other.load_state_dict(one.state_dict())
    for margin in (one, other):
        margin(cosines(student, centers), LABEL, student.norm(dim=1))
    assert torch.equal(one.mean, other.mean) and torch.equal(one.std, other.std)


@pytest.mark.parametrize("rows", [1, 3])
def test_gradient_is_finite_for_single_image_zero_norm_and_cosine_limits(rows):
    margin = AdaFace(t_alpha=1.0).build(64.0)
    cosine = torch.tensor([[1.0, -1.0]]).repeat(rows, 1).requires_grad_()
    logits, _ = margin(cosine, torch.ones(rows, dtype=torch.int64), torch.zeros(rows))
    softmax_loss(logits, torch.ones(rows, dtype=torch.int64)).backward()
    assert torch.isfinite(cosine.grad).all() and torch.isfinite(margin.std)


def test_row_of_another_rank_has_no_margin():
    cosine, _ = float64_cosines()
    logits, _ = AdaFace().build(2.0)(cosine, torch.full((6,), -1), torch.ones(6))
    torch.testing.assert_close(logits, 2 * cosine)


@pytest.mark.parametrize(("keys", "message"), [({"t_alpha": 0.0}, "above 0"), ({"m": -0.1}, "m must"), ({"h": -1.0}, "h")])
def test_invalid_keys_are_rejected(keys, message):
    with pytest.raises(ValueError, match=message):
        AdaFace(**keys)
