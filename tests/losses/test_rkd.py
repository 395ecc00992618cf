import math

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses import rkd
from aird_plugin.losses.rkd import RKD, angle_loss, distance_loss
from aird_plugin.training.objective import LossDims, LossInputs, Objective

PARTS = [distance_loss, angle_loss]


def pair(count=6, seed=0):
    """The student of width 5, the teacher of width 7."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    teacher = torch.randn(count, 7, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher


def on_circle(*degrees):
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], 1)


def huber(a, b):
    difference = (a - b).abs()
    return difference**2 / 2 if difference < 1 else difference - 0.5


def slow_distance(student, teacher):
    tables = []
    for x in (student, teacher):
        pairs = [[(a - b).norm() for b in x] for a in x]
        above = [d for row in pairs for d in row if d > 0]
        tables.append([[d / (sum(above) / len(above)) for d in row] for row in pairs])
    rows = [huber(s, t) for row in zip(*tables, strict=True) for s, t in zip(*row, strict=True)]
    return sum(rows) / len(rows)


def slow_cosine(a, b):
    return a @ b / (a.norm() * b.norm()) if a.norm() > 0 and b.norm() > 0 else torch.zeros((), dtype=a.dtype)


def slow_angle(student, teacher):
    total, count = 0, len(student)
    for j in range(count):
        for i in range(count):
            for k in range(count):
                cosines = [slow_cosine(x[i] - x[j], x[k] - x[j]) for x in (student, teacher)]
                total = total + huber(*cosines)
    return total / count**3


def gradient(loss, x):
    return torch.autograd.grad(loss, x, retain_graph=True)[0]


@pytest.mark.parametrize(("fast", "slow"), [(distance_loss, slow_distance), (angle_loss, slow_angle)])
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_value_and_gradient_equal_loop(fast, slow, spread):
    """One distant embedding puts some distances on the linear part of the Huber loss."""
    student, teacher = pair()
    scale = torch.ones(6, 1, dtype=torch.float64)
    scale[2] = spread
    a, b = fast(student * scale, teacher), slow(student * scale, teacher)
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(gradient(a, student), gradient(b, student))
    assert gradient(a, student).abs().sum() > 0


def test_loss_equals_repdistiller():
    """HobbitLong/RepDistiller, distiller_zoo/RKD.py at b84f547, in float64 on `pair()`."""
    student, teacher = pair()
    assert distance_loss(student, teacher).item() == pytest.approx(0.07607773394666231, rel=1e-10)
    assert angle_loss(student, teacher).item() == pytest.approx(0.08973175266079823, rel=1e-10)
    both = 25 * distance_loss(student, teacher) + 50 * angle_loss(student, teacher)
    assert both.item() == pytest.approx(6.388530981706469, rel=1e-10)


@pytest.mark.parametrize("part", PARTS)
def test_gradcheck(part):
    student, teacher = pair()
    assert torch.autograd.gradcheck(lambda s: part(s, teacher), (student,))


def test_distance_loss_matches_hand_computed_value():
    """The distance of two images equals the mean distance; three at 0, 1 and 2 on a line have 1, 1, 2 over 4/3."""
    assert distance_loss(on_circle(0, 10), on_circle(0, 90)).item() == 0
    line = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    equilateral = on_circle(0, 120, 240)
    differences = [3 / 4 - 1, 3 / 4 - 1, 6 / 4 - 1]
    assert distance_loss(line, equilateral).item() == pytest.approx(sum(g**2 / 2 for g in differences) * 2 / 9)


def test_known_angles():
    """Points on a line have angles of 180, 0 and 0 degrees, an equilateral triangle 60 each: cosines -1, 1, 1 and .5."""
    line = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    expected = (huber(torch.tensor(-1.0), 0.5) + 2 * huber(torch.tensor(1.0), 0.5)) * 2 / 27
    assert angle_loss(line, on_circle(0, 120, 240)).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("part", PARTS)
def test_loss_ignores_translation_rotation_and_scale(part):
    student, teacher = pair()
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(part(3 * student @ rotation + 2, 0.1 * teacher - 1), part(student, teacher))
    assert part(student @ rotation, student).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_float32_is_accurate_for_collapsed_embeddings(part, spread):
    """A collapsed student: products of uncentered embeddings would consist of rounding errors."""
    student, teacher = pair()
    close = (1 + spread * student).detach()
    exact = part(close.float().double(), teacher)
    torch.testing.assert_close(part(close.float(), teacher.float()).double(), exact, rtol=2e-3, atol=0)


@pytest.mark.parametrize("part", PARTS)
def test_equal_embeddings_have_finite_gradient(part):
    student, teacher = pair()
    with torch.no_grad():
        student[3] = student[1]
    loss = part(student, teacher)
    torch.testing.assert_close(loss, {distance_loss: slow_distance, angle_loss: slow_angle}[part](student, teacher))
    assert gradient(loss, student).abs().max() < 1


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_degenerate_batches(part, dtype):
    """A single image, and embeddings that are all equal or all zero."""
    for student in (torch.zeros(1, 5), torch.ones(4, 5), torch.zeros(4, 5)):
        student = student.to(dtype).requires_grad_()
        loss = part(student, pair(len(student))[1].to(dtype))
        assert torch.isfinite(loss) and (len(student) > 1 or loss.item() == 0)
        assert gradient(loss, student).abs().sum() == 0


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(part, dtype):
    student, teacher = (x.detach().to(dtype) for x in pair())
    loss = part(student.requires_grad_(), teacher)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, part(student.float(), teacher.float()))
    assert torch.isfinite(gradient(loss, student)).all()


@pytest.mark.parametrize("elements", [1, 80, 10**9])
def test_block_size_does_not_change_loss(monkeypatch, elements):
    student, teacher = pair()
    unblocked = angle_loss(student, teacher)
    monkeypatch.setattr(rkd, "BLOCK_ELEMENTS", elements)
    blocked = angle_loss(student, teacher)
    torch.testing.assert_close(blocked, unblocked)
    torch.testing.assert_close(gradient(blocked, student), gradient(unblocked, student))


@pytest.mark.parametrize("part", PARTS)
def test_teacher_has_no_gradient(part):
    student, teacher = pair()
    part(student, teacher.requires_grad_()).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


@pytest.mark.parametrize("part", PARTS)
def test_different_number_of_images_is_rejected(part):
    with pytest.raises(ValueError, match=r"student \(6, 5\), teacher \(4, 7\)"):
        part(pair()[0], pair(4)[1])


def test_spec_weights_its_parts_and_normalises():
    student, teacher = pair()
    inputs = LossInputs(student * 9, torch.arange(6), teacher_BD=F.normalize(teacher))
    unit = F.normalize(student)
    out = Objective({"rkd": RKD()}, LossDims(5))(inputs, torch.tensor(0.0))
    expected = distance_loss(unit, inputs.teacher_BD) + 2 * angle_loss(unit, inputs.teacher_BD)
    torch.testing.assert_close(out["loss"], 40 * expected)
    assert not math.isclose(expected.item(), distance_loss(student, teacher).item() + 2 * angle_loss(student, teacher).item())


@pytest.mark.parametrize("key", ["distance", "angle"])
def test_invalid_keys_are_rejected(key):
    with pytest.raises(ValueError, match=f"{key} must be 0 or more; got -1"):
        RKD(**{key: -1.0})


@pytest.mark.parametrize("part", ["distance", "angle"])
def test_a_part_of_weight_0_is_not_computed(monkeypatch, part):
    monkeypatch.setattr(rkd, f"{part}_loss", lambda *_: pytest.fail("computed"))
    student, teacher = pair()
    inputs = LossInputs(student, torch.arange(6), teacher_BD=teacher)
    other = {"distance": "angle", "angle": "distance"}[part]
    found = RKD(**{part: 0.0, other: 3.0}).build(LossDims(5))(inputs)
    expected = 3 * getattr(rkd, f"{other}_loss")(F.normalize(student, dim=1), F.normalize(teacher, dim=1))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
