import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.relation import Relation, RelationLoss, info_nce_loss, nce_loss, relation, relation_cosines
from aird_plugin.losses.sharding import WHOLE

B, K, D = 5, 4, 6


def views(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape):
        return F.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)

    exists_BK = torch.ones(B, K, dtype=torch.bool)
    exists_BK[1, 2:] = False
    return SimpleNamespace(
        student_BD=(3 * unit(B, D)).requires_grad_(), teacher_BD=unit(B, D), person_B=torch.tensor([0, 1, 2, 0, 3]),
        anchor_BD=unit(B, D), negative_BKD=unit(B, K, D), negative_exists_BK=exists_BK,
        has_anchor_B=torch.tensor([True, True, True, False, True]), shards=WHOLE,
    )  # fmt: skip


def build(contrast="nce", **keys) -> RelationLoss:
    module = RelationLoss(D, Relation(width=3, temperature=0.5, contrast=contrast, **keys))
    return module.double().requires_grad_()


def slow_relation(weight, bias, a, b):
    return F.normalize(F.relu(weight @ torch.cat([a, b]) + bias), dim=0)


def slow_rid(module: RelationLoss, v) -> torch.Tensor:
    """Equations 2 and 4, a face and a negative at a time."""
    spec, total = module.spec, 0
    for j in range(B):
        if not v.has_anchor_B[j]:
            continue
        anchor, student = v.anchor_BD[j], v.student_BD[j] / v.student_BD[j].norm()
        cross = slow_relation(module.cross_weight, module.cross_bias, anchor, student)
        positive = slow_relation(module.teacher_weight, module.teacher_bias, anchor, v.teacher_BD[j]) @ cross
        negatives = []
        for m, exists in zip(v.negative_BKD[j], v.negative_exists_BK[j], strict=True):
            if exists and anchor @ m <= spec.noise_cap:
                negatives.append(slow_relation(module.teacher_weight, module.teacher_bias, anchor, m) @ cross)
        if spec.contrast == "infonce":
            scores = torch.stack([positive, *negatives]) / spec.temperature
            total = total - (scores[0].exp() / scores.exp().sum()).log()
            continue
        total = total - crd_h(module, positive, len(negatives)).log()
        total = total - sum((1 - crd_h(module, n, len(negatives))).log() for n in negatives)
    return total / B


def crd_h(module: RelationLoss, cosine, count: int, population: float = 1000.0):
    """CRD's h; its N (`population`) may be any number."""
    p = (cosine / module.spec.temperature).exp() / (population * module.log_mean_score.exp())
    return p / (p + max(count, 1) / population)


@pytest.mark.parametrize("contrast", ["nce", "infonce"])
@pytest.mark.parametrize("noise_cap", [1.0, 0.2])
def test_rid_equals_its_slow_loop_value_and_every_gradient(contrast, noise_cap):
    module, v = build(contrast, noise_cap=noise_cap), views()
    fast = module(v)
    slow = slow_rid(module, v)
    torch.testing.assert_close(fast, slow)
    inputs = [v.student_BD, *module.parameters()]
    for a, b in zip(*(torch.autograd.grad(x, inputs) for x in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b)
        assert a.abs().sum() > 0


@pytest.mark.parametrize("contrast", ["nce", "infonce", "literal"])
def test_gradcheck(contrast):
    module, v = build(contrast), views()
    module(v)  # fixes the normaliser

    def loss(student_BD):
        return module(SimpleNamespace(**{**vars(v), "student_BD": student_BD}))

    assert torch.autograd.gradcheck(loss, (v.student_BD,))


def test_relation_is_linear_relu_and_length_one():
    weight, bias = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, -9]]), torch.tensor([0.0, 1.0])
    out = relation(weight, bias, torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    torch.testing.assert_close(out, torch.tensor([[1.0, 0.0]]))  # (4, relu(1 + 1 - 9)) has one coordinate left


def test_many_others_share_an_anchor():
    v = views()
    weight, bias = torch.randn(3, 2 * D, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    together = relation(weight, bias, v.anchor_BD, v.negative_BKD)
    apart = torch.stack([relation(weight, bias, v.anchor_BD, v.negative_BKD[:, k]) for k in range(K)], 1)
    torch.testing.assert_close(together, apart)


def test_cosines_of_relations_are_those_of_the_normalised_ones():
    """Those of a relation that ReLU leaves nothing of are 0, with a finite gradient."""
    v, to = views(), views(1).student_BD[:, :3].detach()
    weight = torch.randn(3, 2 * D, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bias = torch.zeros(3, dtype=torch.float64)
    found = relation_cosines(weight, bias, v.anchor_BD, v.negative_BKD, to)
    relations = relation(weight, bias, v.anchor_BD, v.negative_BKD)
    torch.testing.assert_close(found, (relations * to[:, None]).sum(2))
    nothing = relation_cosines(weight, bias - 99, v.anchor_BD, v.negative_BKD, to)
    assert nothing.abs().sum() == 0 < found.abs().sum()
    assert torch.autograd.grad(nothing.sum(), weight)[0].isfinite().all()


def test_negatives_may_come_in_half_precision():
    """As the bank holds them: what is computed is float32 all the same."""
    module, v = build().float(), views(dtype=torch.float32)
    halves = v.negative_BKD.half()
    v.negative_BKD = halves.float()
    expected = module(v)
    v.negative_BKD = halves
    torch.testing.assert_close(module(v), expected, rtol=0, atol=0)


def test_nce_starts_at_the_size_that_crds_normaliser_promises():
    """All cosines equal: h = 1 / (1 + K), so the loss is log(1 + K) + K log(1 + 1 / K)."""
    same, allowed = torch.zeros(1, K), torch.ones(1, K, dtype=torch.bool)
    loss = nce_loss(same[:, 0], same, allowed, 0.1, torch.tensor(0.0))
    assert loss.item() == pytest.approx(math.log(1 + K) + K * math.log(1 + 1 / K), rel=1e-6)


def test_infonce_with_no_negative_left_is_zero_and_with_equal_ones_log_of_their_number():
    same, allowed = torch.zeros(1, K), torch.ones(1, K, dtype=torch.bool)
    assert info_nce_loss(same[:, 0], same, ~allowed, 0.1).item() == 0
    assert info_nce_loss(same[:, 0], same, allowed, 0.1).item() == pytest.approx(math.log(1 + K))


def test_scaling_the_student_changes_nothing():
    module, v = build("infonce"), views()
    before = module(v)
    v.student_BD = v.student_BD * 7
    torch.testing.assert_close(module(v), before)


def test_the_normaliser_is_the_first_batchs_and_is_saved():
    module = build("nce")
    module(views(0))
    fixed = module.log_mean_score.clone()
    module(views(1))
    torch.testing.assert_close(module.log_mean_score, fixed, rtol=0, atol=0)
    again = build("nce")
    again.load_state_dict(module.state_dict())
    torch.testing.assert_close(again.log_mean_score, fixed, rtol=0, atol=0)


@pytest.mark.parametrize("contrast", ["nce", "infonce"])
def test_a_batch_in_which_nobody_has_an_anchor_costs_nothing(contrast):
    module, v = build(contrast), views()
    v.has_anchor_B = torch.zeros(B, dtype=torch.bool)
    loss = module(v)
    assert loss.item() == 0
    loss.backward()
    assert v.student_BD.grad.abs().sum() == 0


def test_the_literal_reading_pushes_the_student_from_the_teacher_on_strangers():
    """Where all relations of a stranger agree already, the right reading is content and the literal one is not."""
    module, v = build("literal"), views()
    with torch.no_grad():
        module.cross_weight.copy_(module.teacher_weight)
        v.student_BD.copy_(v.teacher_BD)
    module(v)
    agree = (module(v), build("literal"))
    gradient = torch.autograd.grad(agree[0], module.cross_weight)[0]
    assert gradient.abs().sum() > 0


def test_initial_weights_are_a_function_of_nothing_else():
    a, b = build(), build()
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


@pytest.mark.parametrize(("keys", "words"), [
    ({"contrast": "triplet"}, "nce, infonce, literal; got 'triplet'"), ({"negatives": 0}, "negatives must be 1 or more; got 0"),
    ({"temperature": 0.0}, "temperature must be above 0"), ({"noise_cap": 1.5}, "at most 1; got 1.5"),
    ({"lone_faces": "drop"}, "view, skip; got 'drop'"),
])  # fmt: skip
def test_wrong_keys_are_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        Relation(**keys)
