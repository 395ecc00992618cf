from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.anchor_kl import AnchorKL, anchor_kl_loss
from aird_plugin.losses.instance import IID
from aird_plugin.training.objective import LossDims, LossInputs
from tests.exact import assert_equal_up_to_order, float64

SCALE = 20.0


@pytest.fixture(autouse=True)
def in_float64():
    with float64():
        torch.manual_seed(0)
        yield


def embeddings(images=5, width=4, anchors=7):
    student_BD = torch.randn(images, width, requires_grad=True)
    return student_BD, torch.randn(images, width), F.normalize(torch.randn(anchors, width))


def slow(student_BD, teacher_BD, anchor_KD, own_B):
    """For every image, over the anchors but its own: sum of p_t * (log p_t - log p_s)."""
    total = 0
    for student_D, teacher_D, own in zip(student_BD, teacher_BD, own_B, strict=True):
        others = [anchor_D for k, anchor_D in enumerate(anchor_KD) if k != own]
        weight = [[(SCALE * (x @ a) / (x.norm() * a.norm())).exp() for a in others] for x in (student_D, teacher_D)]
        p_s, p_t = ([w / sum(one) for w in one] for one in weight)
        total = total + sum(t * (t.log() - s.log()) for s, t in zip(p_s, p_t, strict=True))
    return total / len(student_BD)


@pytest.mark.parametrize("own", [[-1] * 5, [3, -1, 0, 6, -1]])
def test_value_and_gradient_equal_the_loop(own):
    student, teacher, anchors = embeddings()
    expected = slow(student, teacher, anchors, own)
    loss = anchor_kl_loss(student, teacher, anchors, SCALE, torch.tensor(own))
    assert_equal_up_to_order(loss, expected)
    assert_equal_up_to_order(*(torch.autograd.grad(x, student)[0] for x in (loss, expected)))
    assert torch.autograd.gradcheck(lambda x: anchor_kl_loss(x, teacher, anchors, 2.0, torch.tensor(own)), (student,))


def test_class_centers_as_anchors_give_iid():
    student, teacher, centers = embeddings()
    label_B = torch.tensor([0, 6, 2, 2, 1])
    cosines = [F.normalize(x) @ centers.T for x in (student, teacher)]
    inputs = LossInputs(student, label_B, student_cosine_GC=cosines[0], teacher_cosine_GC=cosines[1], label_G=label_B)
    assert_equal_up_to_order(
        anchor_kl_loss(student, teacher, centers, SCALE), IID(scale=SCALE).build(LossDims(student.shape[1]))(inputs)
    )


def test_lengths_of_embeddings_and_anchors_do_not_matter():
    student, teacher, anchors = embeddings()
    assert_equal_up_to_order(
        anchor_kl_loss(3 * student, 5 * teacher, 2 * anchors, SCALE), anchor_kl_loss(student, teacher, anchors, SCALE)
    )


def test_the_teachers_own_embedding_has_no_loss():
    _, teacher, anchors = embeddings()
    assert anchor_kl_loss(7 * teacher, teacher, anchors, SCALE).item() == pytest.approx(0, abs=1e-12)


def test_two_anchors_of_which_one_is_left_out_have_no_loss():
    student, teacher, anchors = embeddings(anchors=2)
    assert anchor_kl_loss(student, teacher, anchors, SCALE, torch.zeros(5, dtype=torch.int64)).item() == pytest.approx(
        0, abs=1e-12
    )


def test_opposite_embeddings_at_a_large_scale_stay_finite():
    teacher, anchors = torch.eye(3), torch.cat([torch.eye(3), -torch.eye(3)])
    student = (-teacher).requires_grad_()
    loss = anchor_kl_loss(student, teacher, anchors, 500.0)
    loss.backward()
    assert loss.item() == pytest.approx(1000) and student.grad.isfinite().all()


def test_only_the_student_has_a_gradient():
    student, teacher, anchors = (x.detach().requires_grad_() for x in embeddings())
    anchor_kl_loss(student, teacher, anchors, SCALE).backward()
    assert student.grad.abs().sum() > 0 and teacher.grad is None and anchors.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher, anchors = (x.detach().to(dtype) for x in embeddings())
    loss = anchor_kl_loss(student, teacher, anchors, SCALE)
    assert loss.dtype == torch.float32
    expected = anchor_kl_loss(student.float(), teacher.float(), anchors.float(), SCALE)
    assert loss.item() == expected.item()


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4), (5, 3)), ((2, 3), (2, 3), (5, 4)), ((2, 3), (1, 3), (5, 3))])
def test_other_shapes_are_rejected(shapes):
    with pytest.raises(ValueError, match="embeddings of one width"):
        anchor_kl_loss(*map(torch.zeros, shapes))


@pytest.mark.parametrize("key", [{"scale": 0.0}, {"scale": float("nan")}, {"anchors": 2}])
def test_spec_rejects_values_out_of_range(key):
    with pytest.raises(ValueError, match=next(iter(key))):
        AnchorKL(**key)


def test_data_set_of_two_images_is_rejected():
    with pytest.raises(ValueError, match="three or more training images; got 2"):
        AnchorKL().build(LossDims(4, 2))


def test_an_image_leaves_itself_out_wherever_it_is_among_the_anchors():
    student, teacher, anchors = embeddings()
    term = AnchorKL(scale=SCALE).build(LossDims(4, 30))
    term.set_anchors(torch.tensor([2, 3, 5, 8, 13, 21, 29]), anchors)
    row_B = torch.tensor([0, 2, 29, 13, 14])
    assert term.own_anchor(row_B).tolist() == [-1, 0, 6, 4, -1]
    inputs = SimpleNamespace(student_BD=student, teacher_BD=teacher, row_B=row_B)
    assert_equal_up_to_order(term(inputs), slow(student, teacher, anchors, [-1, 0, 6, 4, -1]))
    assert term.state_dict() == {}
