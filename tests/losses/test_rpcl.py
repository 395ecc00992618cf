import math

import pytest
import torch

from aird_plugin.losses.margin import softmax_loss
from aird_plugin.losses.rpcl import Arc, Cos, Mag, rivals
from tests.losses.margin_inputs import LABEL, cosines, crowded, doubles, far, near

SPECS = {"arc": Arc(rival_threshold=0.5), "cos": Cos(rival_threshold=0.5), "mag": Mag(l_a=5.0, u_a=14.0, rival_threshold=0.5)}


def slow(cosine, label, norm, kind, spec, scale):
    """A loop over faces and classes; the rival is the strongest class that is not the own one."""
    rows = []
    for row, y, length in zip(cosine, label.tolist(), norm, strict=True):
        rival = max((i for i in range(len(row)) if i != y), key=lambda i: row[i].item())
        values = list(row)
        if row[rival] > spec.rival_threshold:
            nearer = torch.cos(torch.acos(row[rival]) - spec.rival_m)
            values[rival] = {"arc": 0.2 * nearer, "mag": nearer, "cos": 0.2 * (row[rival] + 0.2)}[kind]
        if row[y] > 0:
            share = (length.clamp(5, 14) - 5) / 9
            m = {"arc": 0.5, "mag": 0.45 + 0.35 * share}.get(kind)
            values[y] = row[y] - 0.2 if kind == "cos" else torch.cos(torch.acos(row[y]) + m)
        rows.append(scale * torch.stack(values))
    return torch.stack(rows)


@pytest.mark.parametrize("kind", SPECS)
def test_values_and_gradient_equal_the_loop(kind):
    (cosine, label), norm = doubles(), torch.arange(1, 7, dtype=torch.float64) * 3
    fast, _ = SPECS[kind].build(30.0)(cosine, label, norm)
    slowly = slow(cosine, label, norm, kind, SPECS[kind], 30.0)
    weights = torch.arange(1.0, 31, dtype=torch.float64).view(6, 5)
    torch.testing.assert_close(fast, slowly)
    torch.testing.assert_close(*(torch.autograd.grad((x * weights).sum(), cosine)[0] for x in (fast, slowly)))


@pytest.mark.parametrize(("faces", "spec", "expected"), [
    (crowded(0.3), Arc(), 7.178954), (crowded(0.3), Cos(), 5.822971), (crowded(0.7), Cos(), 2.337406),
    (far()[:2], Cos(), 10.690715), (near()[:2], Cos(), 2.878320),
    (crowded(0.3), Mag(), 9.697651), (crowded(0.7), Mag(), 11.775909), (near()[:2], Mag(), 9.367125),
])  # fmt: skip
def test_the_authors_figures(faces, spec, expected):
    """CMACH508/RPCL_LowResolutionFaceRecognition, s = 32: RPCL/fc_layer_RPCL.py (arcface, cosface) and magface_lr/magface.py.

    Arc where every rival is close: of the others that code takes the own class's logit, which is not our reading.
    """
    face, centre = faces
    logits, _ = spec.build(32.0)(cosines(face, centre), LABEL, face.norm(dim=1))
    assert softmax_loss(logits, LABEL).item() == pytest.approx(expected, rel=1e-5)


def test_mag_adds_magfaces_regulariser_and_the_others_none():
    face, centre = crowded(0.3)
    told = cosines(face, centre), LABEL, face.norm(dim=1)
    assert Mag().build(32.0)(*told)[1].item() == pytest.approx(20 * 0.06601598, rel=1e-5)
    assert Arc().build(32.0)(*told)[1] is None and Cos().build(32.0)(*told)[1] is None


def test_a_rival_that_is_not_close_keeps_its_own_cosine():
    cosine = torch.tensor([[0.9, 0.6, 0.1]])
    logits, _ = Arc(m=0.0).build(1.0)(cosine, torch.tensor([0]))
    torch.testing.assert_close(logits, cosine)


def test_geometry_in_the_head():
    """A rival 30 degrees away with a margin of 30 degrees comes to 0 degrees: 1, or a fifth of it."""
    cosine = torch.tensor([[0.5, math.sqrt(0.75)]])
    for factor in (0.2, 1.0):
        logits, _ = Arc(m=0.0, rival_m=math.pi / 6, rival_factor=factor).build(10.0)(cosine, torch.tensor([0]))
        torch.testing.assert_close(logits, torch.tensor([[5.0, 10 * factor]]), atol=1e-4, rtol=0)


def test_a_face_has_one_rival_and_none_where_there_is_one_class():
    cosine = torch.tensor([[0.1, 0.9, 0.9], [0.9, 0.2, 0.1]])
    assert rivals(cosine, torch.tensor([0, 0])).tolist() == [[False, True, False], [False, True, False]]
    assert not rivals(torch.tensor([[0.9]]), torch.tensor([0])).any()


@pytest.mark.parametrize("kind", SPECS)
def test_gradcheck(kind):
    (cosine, label), norm = doubles(4, 4), torch.arange(1, 5, dtype=torch.float64) * 3
    margin = SPECS[kind].build(8.0)
    assert torch.autograd.gradcheck(lambda c: softmax_loss(margin(c, label, norm)[0], label), (cosine,))


@pytest.mark.parametrize("kind", SPECS)
def test_finite_at_the_ends_of_the_cosine(kind):
    cosine = torch.tensor([[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0]], requires_grad=True)
    label = torch.tensor([0, 0])
    softmax_loss(SPECS[kind].build(64.0)(cosine, label, torch.zeros(2))[0], label).backward()
    assert torch.isfinite(cosine.grad).all()


@pytest.mark.parametrize(("kind", "keys", "words"), [
    (Arc, {"rival_m": -0.1}, "rival_m must be 0 or more"), (Cos, {"rival_threshold": 1.5}, "a cosine; got 1.5"),
    (Mag, {"rival_m": -0.1}, "rival_m must"), (Mag, {"u_a": 5.0}, "got 10.0 and 5.0"),
])  # fmt: skip
def test_wrong_keys_are_refused(kind, keys, words):
    with pytest.raises(ValueError, match=words):
        kind(**keys)
