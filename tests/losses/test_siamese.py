from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aird_plugin.losses.sharding import SINGLE_SHARD
from aird_plugin.losses.siamese import Siamese, siamese_loss
from tests.losses.loops import assert_equals_loop


def fixed() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((4, 8, 5)).astype(np.float32))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        # johnnysclai/Deep-Siamese-network-for-LRFR, src/models/learner.py at 78c57bb, `loss_dist`, four sizes, eight identities.
        (range(8), 2.1268883),
        # KevinMusgrave/pytorch-metric-learning 2.9.0: TripletMarginLoss(1.0), CosineSimilarity, BatchHardMiner, MeanReducer.
        ([0, 0, 1, 2, 3, 3, 3, 4], 2.2283618),
    ],
)
def test_loss_equals_public_implementations(label, expected):
    assert siamese_loss(fixed(), torch.tensor(list(label))).item() == pytest.approx(expected, rel=1e-6)


def slow(sizes, label, margin):
    embeddings = [embedding for size in sizes for embedding in size]
    labels = [y for _ in sizes for y in label]
    losses = []
    for i, anchor in enumerate(embeddings):
        distances = [1 - anchor @ other / (anchor.norm() * other.norm()) for other in embeddings]
        positive = [d for j, d in enumerate(distances) if labels[i] == labels[j] and i != j]
        negative = [d for j, d in enumerate(distances) if labels[i] != labels[j]]
        if positive and negative:
            losses.append((margin + max(positive) - min(negative)).clamp(min=0))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("label", [range(8), [0, 0, 1, 2, 3, 3, 3, 4]])
def test_value_and_gradient_equal_loop(label):
    sizes, label = fixed().double().requires_grad_(), torch.tensor(list(label))
    fast, expected = siamese_loss(sizes, label, 0.4), slow(sizes, label, 0.4)
    assert_equals_loop(fast, expected, sizes)


def test_gradcheck():
    sizes = fixed().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: siamese_loss(x, torch.arange(8)), (sizes,))


def test_known_geometry():
    """Orthogonal identities: positives at distance 0, negatives at 1, or at 2 where they are opposite."""
    right, opposite = torch.eye(2), torch.tensor([[1.0, 0], [-1, 0]])
    label = torch.tensor([0, 1])
    assert siamese_loss(torch.stack([right, 5 * right]), label).item() == 0
    assert siamese_loss(torch.stack([right, right]), label, margin=1.5).item() == pytest.approx(0.5)
    assert siamese_loss(torch.stack([opposite, opposite]), label, margin=2.5).item() == pytest.approx(0.5)
    # The second size of each identity equals the first size of the other.
    assert siamese_loss(torch.stack([right, right.flip(0)]), label).item() == pytest.approx(2)


def test_loss_ignores_rotation_scale_and_order():
    sizes, label = fixed(), torch.tensor([0, 0, 1, 1, 2, 2, 2, 1])
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])
    expected = siamese_loss(sizes, label)
    torch.testing.assert_close(siamese_loss(3 * sizes @ rotation, label), expected)
    torch.testing.assert_close(siamese_loss(sizes.flip(0)[:, order], label[order]), expected)


@pytest.mark.parametrize("label", [[4], [4, 4, 4]])
def test_batch_of_one_identity_has_zero_loss(label):
    sizes = torch.randn(2, len(label), 5, requires_grad=True)
    loss = siamese_loss(sizes, torch.tensor(label))
    loss.backward()
    assert loss.item() == 0 and not sizes.grad.any()


def test_image_is_not_its_own_positive():
    assert siamese_loss(torch.ones(1, 3, 5), torch.arange(3)).item() == 0
    assert siamese_loss(torch.ones(1, 3, 5), torch.tensor([0, 0, 1])).item() == pytest.approx(1)


def test_zero_and_equal_embeddings_have_finite_gradients():
    for sizes in (torch.zeros(2, 3, 5), torch.ones(2, 3, 5)):
        sizes.requires_grad_()
        loss = siamese_loss(sizes, torch.tensor([0, 0, 1]))
        loss.backward()
        assert loss.item() == pytest.approx(1) and torch.isfinite(sizes.grad).all()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(half):
    sizes = fixed().to(half)
    torch.testing.assert_close(siamese_loss(sizes, torch.arange(8)), siamese_loss(sizes.float(), torch.arange(8)))


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"got \(3, 4, 5\) and \(3,\)"):
        siamese_loss(torch.zeros(3, 4, 5), torch.zeros(3))
    with pytest.raises(ValueError, match="margin must be 0 or more; got -1"):
        Siamese(margin=-1.0)
    with pytest.raises(ValueError, match="needs one or more sizes in also_px"):
        Siamese().build(SimpleNamespace(also=0))


def test_spec_builds_its_module():
    sizes, label = fixed(), torch.arange(8)
    inputs = SimpleNamespace(student_BD=sizes[0], also_PBD=sizes[1:], label_B=label, shards=SINGLE_SHARD)
    torch.testing.assert_close(Siamese(margin=0.2).build(SimpleNamespace(also=3))(inputs), siamese_loss(sizes, label, 0.2))
