import math

import pytest
import torch

from aird_plugin.losses.margin import softmax_loss
from aird_plugin.losses.rpcl import Arc, Cos, Mag, rival_mask
from tests.losses.margin_inputs import (
    LABEL,
    clustered_embeddings,
    cosines,
    crowded_embeddings,
    float64_cosines,
    random_embeddings,
)

SPECS = {"arc": Arc(rival_threshold=0.5), "cos": Cos(rival_threshold=0.5), "mag": Mag(l_a=5.0, u_a=14.0, rival_threshold=0.5)}


def slow(cosine, label, norm, kind, spec, scale):
    """A loop over images and classes; the rival is the most similar class other than the own one."""
    rows = []
    for row, y, value in zip(cosine, label.tolist(), norm, strict=True):
        rival = max((i for i in range(len(row)) if i != y), key=lambda i: row[i].item())
        values = list(row)
        if row[rival] > spec.rival_threshold:
            reduced = torch.cos(torch.acos(row[rival]) - spec.rival_m)
            values[rival] = {"arc": 0.2 * reduced, "mag": reduced, "cos": 0.2 * (row[rival] + 0.2)}[kind]
        if row[y] > 0:
            ramp = (value.clamp(5, 14) - 5) / 9
            m = {"arc": 0.5, "mag": 0.45 + 0.35 * ramp}.get(kind)
            values[y] = row[y] - 0.2 if kind == "cos" else torch.cos(torch.acos(row[y]) + m)
        rows.append(scale * torch.stack(values))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", SPECS)
def test_values_and_gradient_equal_loop(kind):
    (cosine, label), norm = float64_cosines(), torch.arange(1, 7, dtype=torch.float64) * 3
    fast, _ = SPECS[kind].build(30.0)(cosine, label, norm)
    expected = slow(cosine, label, norm, kind, SPECS[kind], 30.0)
    weights = torch.arange(1.0, 31, dtype=torch.float64).view(6, 5)
    torch.testing.assert_close(fast, expected)
    torch.testing.assert_close(*(torch.autograd.grad((x * weights).sum(), cosine)[0] for x in (fast, expected)))


@pytest.mark.parametrize(
    ("embeddings", "spec", "expected"),
    [
        (crowded_embeddings(0.3), Arc(), 7.178954),
        (crowded_embeddings(0.3), Cos(), 5.822971),
        (crowded_embeddings(0.7), Cos(), 2.337406),
        (random_embeddings()[:2], Cos(), 10.690715),
        (clustered_embeddings()[:2], Cos(), 2.878320),
        (crowded_embeddings(0.3), Mag(), 9.697651),
        (crowded_embeddings(0.7), Mag(), 11.775909),
        (clustered_embeddings()[:2], Mag(), 9.367125),
    ],
)
def test_loss_equals_authors_code(embeddings, spec, expected):
    """CMACH508/RPCL_LowResolutionFaceRecognition, s = 32: RPCL/fc_layer_RPCL.py (arcface, cosface) and magface_lr/magface.py.

    Arc only with close rival_mask: for the others that code uses the own class's logit, and this implementation does not.
    """
    student, centers = embeddings
    logits, _ = spec.build(32.0)(cosines(student, centers), LABEL, student.norm(dim=1))
    assert softmax_loss(logits, LABEL).item() == pytest.approx(expected, rel=1e-5)


def test_only_mag_has_a_regulariser():
    student, centers = crowded_embeddings(0.3)
    arguments = cosines(student, centers), LABEL, student.norm(dim=1)
    assert Mag().build(32.0)(*arguments)[1].item() == pytest.approx(20 * 0.06601598, rel=1e-5)
    assert Arc().build(32.0)(*arguments)[1] is None and Cos().build(32.0)(*arguments)[1] is None


def test_rival_below_threshold_keeps_its_cosine():
    cosine = torch.tensor([[0.9, 0.6, 0.1]])
    logits, _ = Arc(m=0.0).build(1.0)(cosine, torch.tensor([0]))
    torch.testing.assert_close(logits, cosine)


def test_known_geometry():
    """A rival at 30 degrees with a margin of 30 degrees has an angle of 0: cosine 1, times the factor."""
    cosine = torch.tensor([[0.5, math.sqrt(0.75)]])
    for factor in (0.2, 1.0):
        logits, _ = Arc(m=0.0, rival_m=math.pi / 6, rival_factor=factor).build(10.0)(cosine, torch.tensor([0]))
        torch.testing.assert_close(logits, torch.tensor([[5.0, 10 * factor]]), atol=1e-4, rtol=0)


def test_image_has_at_most_one_rival():
    cosine = torch.tensor([[0.1, 0.9, 0.9], [0.9, 0.2, 0.1]])
    assert rival_mask(cosine, torch.tensor([0, 0])).tolist() == [[False, True, False], [False, True, False]]
    assert not rival_mask(torch.tensor([[0.9]]), torch.tensor([0])).any()


@pytest.mark.parametrize("kind", SPECS)
def test_gradcheck(kind):
    (cosine, label), norm = float64_cosines(4, 4), torch.arange(1, 5, dtype=torch.float64) * 3
    margin = SPECS[kind].build(8.0)
    assert torch.autograd.gradcheck(lambda c: softmax_loss(margin(c, label, norm)[0], label), (cosine,))


@pytest.mark.parametrize("kind", SPECS)
def test_gradient_is_finite_at_cosine_limits(kind):
    cosine = torch.tensor([[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]], requires_grad=True)
    label = torch.tensor([0, 0])
    softmax_loss(SPECS[kind].build(64.0)(cosine, label, torch.zeros(2))[0], label).backward()
    assert torch.isfinite(cosine.grad).all()


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        (Arc, {"rival_m": -0.1}, "rival_m must be an angle"),
        (Cos, {"rival_threshold": 1.5}, "a cosine, -1 to 1; got 1.5"),
        (Mag, {"rival_m": -0.1}, "rival_m must"),
        (Mag, {"u_a": 5.0}, "got 10.0 and 5.0"),
    ],
)
def test_invalid_keys_are_rejected(kind, keys, message):
    with pytest.raises(ValueError, match=message):
        kind(**keys)
