import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses import adadistill
from aird_plugin.losses.margin import margin_logits, softmax_loss
from tests.losses.margin_inputs import LABEL, cosines, far, near


def moved_centres(centres, *faces):
    """All the centres, with those that moved in their places."""
    class_K, centre_KD = adadistill.moved_centres(centres, *faces)
    return centres.index_copy(0, class_K, centre_KD)


def slow(centres, label, student, teacher):
    """A loop over classes and their faces."""
    out = centres.clone()
    for y in set(label.tolist()) - {-1}:
        made = []
        for s, t in zip(student[label == y], F.normalize(teacher[label == y]), strict=True):
            nearness = F.cosine_similarity(centres[y], t, 0).clamp(1e-6, 1)
            a = (F.cosine_similarity(s, t, 0) * nearness).clamp(1e-6, 1)
            made.append(a * centres[y] + (1 - a) * t)
        out[y] = torch.stack(made).mean(0)
    return out


@pytest.mark.parametrize("faces", [far, near])
def test_it_equals_the_loop(faces):
    student, centres, teacher = faces()
    label = torch.tensor([0, 4, 2, 2, -1, 2])
    moved = moved_centres(centres, label, student, teacher + student)
    torch.testing.assert_close(moved, slow(centres, label, student, teacher + student))
    assert torch.equal(moved[[1, 3]], centres[[1, 3]]) and (moved[[0, 2, 4]] != centres[[0, 2, 4]]).any(1).all()


@pytest.mark.parametrize(("faces", "arc", "cos", "total", "weighed"), [
    (far, 12.603304, 17.190928, 15.130043, 61.806607), (near, 4.659087, 8.441335, 21.949114, 183.384415),
])  # fmt: skip
def test_the_authors_figures(faces, arc, cos, total, weighed):
    """fdbtrs/AdaDistill utils/losses.py: AdaptiveAArcFace and AdaptiveACosFace, s = 64, m = 0.45, five faces of five people."""
    student, centres, teacher = (x[:5] for x in faces())
    label = LABEL[:5]
    moved = moved_centres(centres, label, student, teacher + student)
    assert moved.abs().sum().item() == pytest.approx(total, rel=1e-5)
    assert (moved.T * torch.arange(40.0).view(8, 5)).sum().item() == pytest.approx(weighed, rel=1e-5)
    for margins, expected in (((1, 0.45, 0), arc), ((1, 0, 0.45), cos)):
        logits = margin_logits(cosines(student, moved), label, margins, 64.0)
        assert softmax_loss(logits, label).item() == pytest.approx(expected, rel=1e-4)


def test_agreement_keeps_the_centre_and_disagreement_replaces_it():
    centre, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 5.0]])
    label = torch.tensor([0])
    torch.testing.assert_close(moved_centres(centre, label, centre, centre), centre)
    replaced = moved_centres(centre, label, teacher, teacher)
    torch.testing.assert_close(replaced, torch.tensor([[0.0, 1.0]]), atol=1e-5, rtol=0)


def test_the_order_of_faces_and_their_lengths_do_not_matter():
    student, centres, teacher = near()
    turn = torch.tensor([5, 3, 1, 0, 2, 4])
    moved = moved_centres(centres, LABEL, student, teacher)
    torch.testing.assert_close(moved_centres(centres, LABEL[turn], 2 * student[turn], 3 * teacher[turn]), moved)


def test_no_gradient_goes_anywhere_and_nothing_is_written_into():
    student, centres, teacher = near()
    before = centres.clone()
    _, moved = adadistill.moved_centres(centres.requires_grad_(), LABEL, student.requires_grad_(), teacher.requires_grad_())
    assert not moved.requires_grad and torch.equal(centres.detach(), before)


def test_no_face_here_and_embeddings_of_zeros():
    student, centres, teacher = near()
    assert torch.equal(moved_centres(centres, torch.full((6,), -1), student, teacher), centres)
    assert torch.isfinite(moved_centres(centres, LABEL, 0 * student, 0 * teacher)).all()


def test_another_width_is_refused():
    student, centres, teacher = near()
    with pytest.raises(ValueError, match="got 8, 8, 7"):
        moved_centres(centres, LABEL, student, teacher[:, :7])
