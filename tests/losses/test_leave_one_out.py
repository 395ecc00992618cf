"""IID with each image left out of its own class center."""

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.instance import IID, IIDLoss
from aird_plugin.training.objective import LossInputs

# Rows 0 to 4 in the training set; the identity of row 4 has no other image.
LABEL = torch.tensor([2, 0, 2, 5, 3])
SINGLE = 4


def draw(*shape):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64), dim=-1)


def term(student_too=True, **keys):
    module = IIDLoss(IID(scale=8.0, leave_one_out=True, **keys), 4)
    left_out_ND = draw(5, 4)
    left_out_ND[SINGLE] = 0
    module.set_left_out(left_out_ND, student_too)
    return module


def inputs_of(student_BD, rows=(0, 1, 2, 3, 4)):
    row_B = torch.tensor(rows)
    centers_CD, teacher_centers_CD, teacher_BD = draw(6, 4), draw(6, 4).flip(0), draw(7, 4)[row_B]
    cosines = (F.normalize(student_BD) @ centers_CD.T, teacher_BD @ teacher_centers_CD.T)
    return LossInputs(
        student_BD,
        LABEL[row_B],
        row_B,
        teacher_BD,
        student_cosine_GC=cosines[0],
        teacher_cosine_GC=cosines[1],
        label_G=LABEL[row_B],
    )


def slow(module, inputs):
    """A loop over the images: the own class against the other images' center, or left out of the classes."""
    total = 0
    for i, row in enumerate(inputs.row_B.tolist()):
        own, y = module.left_out_ND[row], int(inputs.label_B[i])
        scores = []
        for cosine, embedding, replace in (
            (inputs.student_cosine_GC[i], inputs.student_BD[i], module.student_left_out),
            (inputs.teacher_cosine_GC[i], inputs.teacher_BD[i], True),
        ):
            classes = [cosine[c] for c in range(len(cosine)) if c != y]
            if row != SINGLE:
                classes.insert(0, embedding @ own / embedding.norm() if replace else cosine[y])
            scores.append(module.spec.scale * torch.stack(classes))
        student, teacher = (x.softmax(0) for x in scores)
        if module.spec.variant == "kl":
            total = total + (teacher * (teacher / student).log()).sum()
            continue
        first = 0 if row == SINGLE else 1
        if first:
            pair_s, pair_t = (torch.stack([x[0], 1 - x[0]]) for x in (student, teacher))
            total = total + module.spec.alpha * (pair_t * (pair_t / pair_s).log()).sum()
        rest_s, rest_t = (x[first:] / x[first:].sum() for x in (student, teacher))
        total = total + module.spec.beta * (rest_t * (rest_t / rest_s).log()).sum()
    return total / len(inputs.label_B)


@pytest.mark.parametrize("variant", ["kl", "dkd"])
@pytest.mark.parametrize("student_too", [True, False])
def test_value_and_gradient_equal_loop(variant, student_too):
    student_BD = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    module, inputs = term(student_too, variant=variant), inputs_of(student_BD)
    fast, expected = module(inputs), slow(module, inputs)
    torch.testing.assert_close(fast, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, student_BD, retain_graph=True)[0] for x in (fast, expected)))


@pytest.mark.parametrize("variant", ["kl", "dkd"])
def test_gradcheck(variant):
    module = term(variant=variant)
    student_BD = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: module(inputs_of(x, (0, 2, 4))), (student_BD,))


def test_single_image_identities_do_not_pull_to_their_own_center():
    """A batch of one such image: the own class has no part in the loss, at any of its cosines."""
    module = term()
    student_BD = torch.randn(1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = inputs_of(student_BD, (SINGLE,))
    before = module(inputs)
    inputs.student_cosine_GC[0, LABEL[SINGLE]] = -0.9
    inputs.teacher_cosine_GC[0, LABEL[SINGLE]] = 0.9
    assert before > 0
    torch.testing.assert_close(module(inputs), before)


def test_scale_and_temperature_are_separate_factors():
    """scale / temperature is what the softmax gets; the square of the temperature is a weight."""
    student_BD = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs = inputs_of(student_BD)
    hot, cold = IIDLoss(IID(scale=32.0, temperature=4.0)), IIDLoss(IID(scale=8.0))
    torch.testing.assert_close(hot(inputs), 16 * cold(inputs))
