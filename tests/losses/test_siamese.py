from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aird_plugin.losses.sharding import WHOLE
from aird_plugin.losses.siamese import Siamese, siamese_loss


def fixed() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((4, 8, 5)).astype(np.float32))


@pytest.mark.parametrize(("person", "expected"), [
    # johnnysclai/Deep-Siamese-network-for-LRFR, src/models/learner.py at 78c57bb, `loss_dist` of four sizes of eight people.
    (range(8), 2.1268883),
    # KevinMusgrave/pytorch-metric-learning 2.9.0: TripletMarginLoss(1.0), CosineSimilarity, BatchHardMiner, MeanReducer.
    ([0, 0, 1, 2, 3, 3, 3, 4], 2.2283618),
])  # fmt: skip
def test_public_implementations_agree(person, expected):
    assert siamese_loss(fixed(), torch.tensor(list(person))).item() == pytest.approx(expected, rel=1e-6)


def slow(sizes, person, margin):
    faces = [face for size in sizes for face in size]
    people = [p for _ in sizes for p in person]
    losses = []
    for x, face in enumerate(faces):
        gaps = [1 - face @ other / (face.norm() * other.norm()) for other in faces]
        far = [g for y, g in enumerate(gaps) if people[x] == people[y] and x != y]
        near = [g for y, g in enumerate(gaps) if people[x] != people[y]]
        if far and near:
            losses.append((margin + max(far) - min(near)).clamp(min=0))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("person", [range(8), [0, 0, 1, 2, 3, 3, 3, 4]])
def test_value_and_gradient_equal_the_loop(person):
    sizes, person = fixed().double().requires_grad_(), torch.tensor(list(person))
    fast, by_hand = siamese_loss(sizes, person, 0.4), slow(sizes, person, 0.4)
    torch.testing.assert_close(fast, by_hand)
    torch.testing.assert_close(*(torch.autograd.grad(x, sizes)[0] for x in (fast, by_hand)))


def test_gradcheck():
    sizes = fixed().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: siamese_loss(x, torch.arange(8)), (sizes,))


def test_geometry_in_the_head():
    """People at right angles: positives at distance 0, negatives at 1, or at 2 where they stand opposite."""
    right, opposite = torch.eye(2), torch.tensor([[1.0, 0], [-1, 0]])
    person = torch.tensor([0, 1])
    assert siamese_loss(torch.stack([right, 5 * right]), person).item() == 0
    assert siamese_loss(torch.stack([right, right]), person, margin=1.5).item() == pytest.approx(0.5)
    assert siamese_loss(torch.stack([opposite, opposite]), person, margin=2.5).item() == pytest.approx(0.5)
    # The other size of each stands where the other person stands.
    assert siamese_loss(torch.stack([right, right.flip(0)]), person).item() == pytest.approx(2)


def test_turning_scaling_and_order_change_nothing():
    sizes, person = fixed(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    expected = siamese_loss(sizes, person)
    torch.testing.assert_close(siamese_loss(3 * sizes @ rotation, person), expected)
    torch.testing.assert_close(siamese_loss(sizes.flip(0)[:, order], person[order]), expected)


@pytest.mark.parametrize("person", [[4], [4, 4, 4]])
def test_without_strangers_there_is_no_triplet(person):
    sizes = torch.randn(2, len(person), 5, requires_grad=True)
    loss = siamese_loss(sizes, torch.tensor(person))
    loss.backward()
    assert loss.item() == 0 and not sizes.grad.any()


def test_a_face_is_no_positive_of_itself():
    assert siamese_loss(torch.ones(1, 3, 5), torch.arange(3)).item() == 0
    assert siamese_loss(torch.ones(1, 3, 5), torch.tensor([0, 0, 1])).item() == pytest.approx(1)


def test_zero_and_coinciding_embeddings_give_finite_gradients():
    for sizes in (torch.zeros(2, 3, 5), torch.ones(2, 3, 5)):
        sizes.requires_grad_()
        loss = siamese_loss(sizes, torch.tensor([0, 0, 1]))
        loss.backward()
        assert loss.item() == pytest.approx(1) and torch.isfinite(sizes.grad).all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half):
    sizes = fixed().to(half)
    torch.testing.assert_close(siamese_loss(sizes, torch.arange(8)), siamese_loss(sizes.float(), torch.arange(8)))


def test_refusals():
    with pytest.raises(ValueError, match=r"got \(3, 4, 5\) and \(3,\)"):
        siamese_loss(torch.zeros(3, 4, 5), torch.zeros(3))
    with pytest.raises(ValueError, match="margin must be 0 or more; got -1"):
        Siamese(margin=-1.0)
    with pytest.raises(ValueError, match="also_px names one or more"):
        Siamese().build(SimpleNamespace(also=0))


def test_the_spec_builds_its_module():
    sizes, person = fixed(), torch.arange(8)
    views = SimpleNamespace(student_BD=sizes[0], also_PBD=sizes[1:], person_B=person, shards=WHOLE)
    torch.testing.assert_close(Siamese(margin=0.2).build(SimpleNamespace(also=3))(views), siamese_loss(sizes, person, 0.2))
