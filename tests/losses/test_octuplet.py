from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aird_plugin.losses.octuplet import Octuplet, octuplet_loss
from aird_plugin.losses.sharding import WHOLE


def fixed() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 8, 5)).astype(np.float32))


@pytest.mark.parametrize(("person", "own", "expected"), [
    # Martlgap/octuplet-loss, pt_octuplet_loss.py at 094ff1b, OctupletLoss() of the normalised embeddings.
    ([0, 0, 1, 1, 2, 2, 2, 1], False, 3.8027172),
    # KevinMusgrave/pytorch-metric-learning 2.9.0: TripletMarginLoss(0.5), LpDistance, BatchHardMiner, MeanReducer, four times.
    ([0, 0, 1, 1, 2, 2, 2, 1], True, 4.0637522),
    ([0, 0, 1, 2, 3, 3, 3, 4], True, 3.5094817),
])  # fmt: skip
def test_public_implementations_agree(person, own, expected):
    assert octuplet_loss(fixed(), torch.tensor(person), own=own).item() == pytest.approx(expected, rel=1e-6)


def slow(sizes, person, margin, own):
    total = 0
    unit = [[face / face.norm() for face in size] for size in sizes]
    for a, anchors in enumerate(unit):
        for b, others in enumerate(unit):
            losses = []
            for i, anchor in enumerate(anchors):
                gaps = [(anchor - other).norm() for other in others]
                far = [g for j, g in enumerate(gaps) if person[i] == person[j] and (i != j or (own and a != b))]
                near = [g for j, g in enumerate(gaps) if person[i] != person[j]]
                if far and near:
                    losses.append((max(far) - min(near) + margin).clamp(min=0))
            total = total + (sum(losses) / len(losses) if losses else 0)
    return total


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("person", [[0, 0, 1, 1, 2, 2, 2, 1], [0, 1, 2, 3, 4, 4, 5, 6]])
def test_value_and_gradient_equal_the_loop(person, own):
    sizes, person = fixed().double().requires_grad_(), torch.tensor(person)
    fast, by_hand = octuplet_loss(sizes, person, 0.3, own), slow(sizes, person, 0.3, own)
    torch.testing.assert_close(fast, by_hand)
    torch.testing.assert_close(*(torch.autograd.grad(x, sizes)[0] for x in (fast, by_hand)))


def test_gradcheck():
    sizes = fixed().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: octuplet_loss(x, torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])), (sizes,))


def test_geometry_in_the_head():
    """Two people at right angles, each at the same place in both sizes: positives at 0, negatives at sqrt 2."""
    sizes = torch.eye(2).expand(2, 2, 2) * 3
    person = torch.tensor([0, 1])
    assert octuplet_loss(sizes, person, margin=0.5).item() == 0
    # high-low and low-high alone have a positive: max(0, 0 - 1.414 + 2) each.
    assert octuplet_loss(sizes, person, margin=2.0).item() == pytest.approx(2 * (2 - 2**0.5))
    assert octuplet_loss(sizes, person, margin=2.0, own=False).item() == 0
    opposite = torch.stack([torch.eye(2), -torch.eye(2)])
    assert octuplet_loss(opposite, person, margin=0.5).item() == pytest.approx(2 * (2 - 2**0.5 + 0.5))


def test_turning_scaling_and_the_order_of_sizes_and_faces_change_nothing():
    sizes, person = fixed(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    expected = octuplet_loss(sizes, person)
    torch.testing.assert_close(octuplet_loss(3 * sizes @ rotation, person), expected)
    torch.testing.assert_close(octuplet_loss(sizes.flip(0), person), expected)
    torch.testing.assert_close(octuplet_loss(sizes[:, order], person[order]), expected)


@pytest.mark.parametrize("person", [[4], [4, 4, 4]])
def test_without_strangers_there_is_no_triplet(person):
    sizes = torch.randn(2, len(person), 5, requires_grad=True)
    loss = octuplet_loss(sizes, torch.tensor(person))
    loss.backward()
    assert loss.item() == 0 and not sizes.grad.any()


def test_zero_and_coinciding_embeddings_give_finite_gradients():
    person = torch.tensor([0, 0, 1])
    for sizes in (torch.zeros(2, 3, 5), torch.ones(2, 3, 5)):
        sizes.requires_grad_()
        loss = octuplet_loss(sizes, person)
        loss.backward()
        assert loss.item() == pytest.approx(4 * 0.5) and torch.isfinite(sizes.grad).all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half):
    sizes, person = fixed().to(half), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    torch.testing.assert_close(octuplet_loss(sizes, person), octuplet_loss(sizes.float(), person))


def test_refusals():
    with pytest.raises(ValueError, match=r"\(2, G, D\) and people \(G,\); got \(3, 4, 5\) and \(4,\)"):
        octuplet_loss(torch.zeros(3, 4, 5), torch.zeros(4))
    with pytest.raises(ValueError, match="margin must be 0 or more; got -1"):
        Octuplet(margin=-1.0)
    for also in (0, 2):
        with pytest.raises(ValueError, match=f"also_px names one beside px.*it has {also}"):
            Octuplet().build(SimpleNamespace(also=also))


def test_the_spec_builds_its_module():
    sizes, person = fixed(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    views = SimpleNamespace(student_BD=sizes[0], also_PBD=sizes[1:], person_B=person, shards=WHOLE)
    term = Octuplet(margin=0.2, own=False).build(SimpleNamespace(also=1))
    torch.testing.assert_close(term(views), octuplet_loss(sizes, person, 0.2, False))
