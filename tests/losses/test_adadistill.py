import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses import adadistill
from aird_plugin.losses.margin import margin_logits, softmax_loss
from tests.losses.margin_inputs import LABEL, clustered_embeddings, cosines, random_embeddings


def moved_centers(centers, *embeddings):
    """All centers after the update."""
    class_K, center_KD = adadistill.moved_centers(centers, *embeddings)
    return centers.index_copy(0, class_K, center_KD)


def slow(centers, label, student, teacher):
    """A loop over classes and their images."""
    out = centers.clone()
    for y in set(label.tolist()) - {-1}:
        updates = []
        for s, t in zip(student[label == y], F.normalize(teacher[label == y]), strict=True):
            center_cosine = F.cosine_similarity(centers[y], t, 0).clamp(1e-6, 1)
            a = (F.cosine_similarity(s, t, 0) * center_cosine).clamp(1e-6, 1)
            updates.append(a * centers[y] + (1 - a) * t)
        out[y] = torch.stack(updates).mean(0)
    return out


@pytest.mark.parametrize("embeddings", [random_embeddings, clustered_embeddings])
def test_update_equals_loop(embeddings):
    student, centers, teacher = embeddings()
    label = torch.tensor([0, 4, 2, 2, -1, 2])
    moved = moved_centers(centers, label, student, teacher + student)
    torch.testing.assert_close(moved, slow(centers, label, student, teacher + student))
    assert torch.equal(moved[[1, 3]], centers[[1, 3]]) and (moved[[0, 2, 4]] != centers[[0, 2, 4]]).any(1).all()


@pytest.mark.parametrize(
    ("embeddings", "arc", "cos", "total", "weighted"),
    [
        (random_embeddings, 12.603304, 17.190928, 15.130043, 61.806607),
        (clustered_embeddings, 4.659087, 8.441335, 21.949114, 183.384415),
    ],
)
def test_loss_equals_authors_code(embeddings, arc, cos, total, weighted):
    """fdbtrs/AdaDistill utils/losses.py: AdaptiveAArcFace and AdaptiveACosFace, s = 64, m = 0.45, five identities."""
    student, centers, teacher = (x[:5] for x in embeddings())
    label = LABEL[:5]
    moved = moved_centers(centers, label, student, teacher + student)
    assert moved.abs().sum().item() == pytest.approx(total, rel=1e-5)
    assert (moved.T * torch.arange(40.0).view(8, 5)).sum().item() == pytest.approx(weighted, rel=1e-5)
    for margins, expected in (((1, 0.45, 0), arc), ((1, 0, 0.45), cos)):
        logits = margin_logits(cosines(student, moved), label, margins, 64.0)
        assert softmax_loss(logits, label).item() == pytest.approx(expected, rel=1e-4)


def test_student_and_center_that_both_disagree_do_not_count_as_agreement():
    """The cosine of center and teacher counts from 0: the product of two negative ones would keep the center."""
    away, teacher = torch.tensor([[-1.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(moved_centers(away, torch.tensor([0]), away, teacher), teacher, rtol=0, atol=1e-5)


def test_agreement_keeps_center_and_disagreement_replaces_it():
    center, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    label = torch.tensor([0])
    torch.testing.assert_close(moved_centers(center, label, center, center), center)
    replaced = moved_centers(center, label, teacher, teacher)
    torch.testing.assert_close(replaced, torch.tensor([[0.0, 1.0]]), atol=1e-5, rtol=0)


def test_update_ignores_image_order_and_norms():
    student, centers, teacher = clustered_embeddings()
    order = torch.tensor([5, 3, 1, 0, 2, 4])
    moved = moved_centers(centers, LABEL, student, teacher)
    torch.testing.assert_close(moved_centers(centers, LABEL[order], 2 * student[order], 3 * teacher[order]), moved)


def test_update_has_no_gradient_and_is_not_in_place():
    student, centers, teacher = clustered_embeddings()
    before = centers.clone()
    _, moved = adadistill.moved_centers(centers.requires_grad_(), LABEL, student.requires_grad_(), teacher.requires_grad_())
    assert not moved.requires_grad and torch.equal(centers.detach(), before)


def test_other_ranks_images_and_zero_embeddings():
    student, centers, teacher = clustered_embeddings()
    assert torch.equal(moved_centers(centers, torch.full((6,), -1), student, teacher), centers)
    assert torch.isfinite(moved_centers(centers, LABEL, 0 * student, 0 * teacher)).all()


def test_different_width_is_rejected():
    student, centers, teacher = clustered_embeddings()
    with pytest.raises(ValueError, match="got 8, 8, 7"):
        moved_centers(centers, LABEL, student, teacher[:, :7])
