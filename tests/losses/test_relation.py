import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.relation import RID, RelationLoss, info_nce_loss, nce_loss, relation, relation_cosines
from aird_plugin.losses.sharding import SINGLE_SHARD
from tests.losses.loops import assert_equals_loop

B, K, D = 5, 4, 6


def make_inputs(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape):
        return F.normalize(torch.randn(*shape, generator=generator, dtype=dtype), dim=-1)

    exists_BK = torch.ones(B, K, dtype=torch.bool)
    exists_BK[1, 2:] = False
    return SimpleNamespace(
        student_BD=(3 * unit(B, D)).requires_grad_(),
        teacher_BD=unit(B, D),
        label_B=torch.tensor([0, 1, 2, 0, 3]),
        anchor_BD=unit(B, D),
        negative_BKD=unit(B, K, D),
        negative_exists_BK=exists_BK,
        has_anchor_B=torch.tensor([True, True, True, False, True]),
        shards=SINGLE_SHARD,
    )


def build(contrast="nce", **keys) -> RelationLoss:
    module = RelationLoss(D, RID(width=3, temperature=0.5, contrast=contrast, **keys))
    return module.double().requires_grad_()


def slow_relation(weight, bias, a, b):
    return F.normalize(F.relu(weight @ torch.cat([a, b]) + bias), dim=0)


def slow_rid(module: RelationLoss, inputs) -> torch.Tensor:
    """Equations 2 and 4, a loop over images and negatives."""
    spec, total = module.spec, 0
    for j in range(B):
        if not inputs.has_anchor_B[j]:
            continue
        anchor, student = inputs.anchor_BD[j], inputs.student_BD[j] / inputs.student_BD[j].norm()
        cross = slow_relation(module.cross_weight, module.cross_bias, anchor, student)
        positive = slow_relation(module.teacher_weight, module.teacher_bias, anchor, inputs.teacher_BD[j]) @ cross
        negatives = []
        for m, exists in zip(inputs.negative_BKD[j], inputs.negative_exists_BK[j], strict=True):
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
    """CRD's h; the result does not depend on its N (`population`)."""
    p = (cosine / module.spec.temperature).exp() / (population * module.log_mean_score.exp())
    return p / (p + max(count, 1) / population)


@pytest.mark.parametrize("contrast", ["nce", "infonce", "literal"])
def test_noise_cap_of_1_skips_no_candidate(contrast):
    """Rows of the bank are rounded to float16, and the product of two equal ones may exceed 1."""

    def loss(norm, cap):
        inputs = make_inputs()
        inputs.anchor_BD = inputs.teacher_BD = F.normalize(torch.ones(B, D, dtype=torch.float64), dim=1) * norm
        inputs.negative_BKD = inputs.anchor_BD[:, None].expand(B, K, D)
        return build(contrast, noise_cap=cap)(inputs).item()

    assert loss(1.0002, 1.0) == pytest.approx(loss(0.9998, 1.0), rel=1e-3)
    assert loss(1.0002, 1.0) > loss(1.0002, 0.99) + 0.01, "a cap below 1 skips them"


@pytest.mark.parametrize("contrast", ["nce", "infonce"])
@pytest.mark.parametrize("noise_cap", [1.0, 0.2])
def test_value_and_all_gradients_equal_loop(contrast, noise_cap):
    module, inputs = build(contrast, noise_cap=noise_cap), make_inputs()
    fast = module(inputs)
    slow = slow_rid(module, inputs)
    assert_equals_loop(fast, slow, [inputs.student_BD, *module.parameters()])


@pytest.mark.parametrize("contrast", ["nce", "infonce", "literal"])
def test_gradcheck(contrast):
    module, inputs = build(contrast), make_inputs()
    module(inputs)  # Initialises the normaliser.

    def loss(student_BD):
        return module(SimpleNamespace(**{**vars(inputs), "student_BD": student_BD}))

    assert torch.autograd.gradcheck(loss, (inputs.student_BD,))


def test_relation_is_normalised_relu_of_linear_layer():
    weight, bias = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, -9]]), torch.tensor([0.0, 1.0])
    out = relation(weight, bias, torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    torch.testing.assert_close(out, torch.tensor([[1.0, 0.0]]))  # (4, relu(1 + 1 - 9)) has one non-zero coordinate


def test_relation_broadcasts_anchor_over_negatives():
    inputs = make_inputs()
    weight, bias = torch.randn(3, 2 * D, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    broadcast = relation(weight, bias, inputs.anchor_BD, inputs.negative_BKD)
    separate = torch.stack([relation(weight, bias, inputs.anchor_BD, inputs.negative_BKD[:, k]) for k in range(K)], 1)
    torch.testing.assert_close(broadcast, separate)


def test_relation_cosines_equal_products_of_normalised_relations():
    """A relation that is 0 after ReLU has cosines of 0, with a finite gradient."""
    inputs, to = make_inputs(), make_inputs(1).student_BD[:, :3].detach()
    weight = torch.randn(3, 2 * D, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bias = torch.zeros(3, dtype=torch.float64)
    cosines = relation_cosines(weight, bias, inputs.anchor_BD, inputs.negative_BKD, to)
    relations = relation(weight, bias, inputs.anchor_BD, inputs.negative_BKD)
    torch.testing.assert_close(cosines, (relations * to[:, None]).sum(2))
    zero = relation_cosines(weight, bias - 99, inputs.anchor_BD, inputs.negative_BKD, to)
    assert zero.abs().sum() == 0 < cosines.abs().sum()
    assert torch.autograd.grad(zero.sum(), weight)[0].isfinite().all()


def test_half_precision_negatives_are_computed_in_float32():
    """The bank holds float16; the computation is in float32."""
    module, inputs = build().float(), make_inputs(dtype=torch.float32)
    halves = inputs.negative_BKD.half()
    inputs.negative_BKD = halves.float()
    expected = module(inputs)
    inputs.negative_BKD = halves
    torch.testing.assert_close(module(inputs), expected, rtol=0, atol=0)


def test_nce_of_equal_cosines_has_known_value():
    """All cosines equal: h = 1 / (1 + K), so the loss is log(1 + K) + K log(1 + 1 / K)."""
    same, allowed = torch.zeros(1, K), torch.ones(1, K, dtype=torch.bool)
    loss = nce_loss(same[:, 0], same, allowed, 0.1, torch.tensor(0.0))
    assert loss.item() == pytest.approx(math.log(1 + K) + K * math.log(1 + 1 / K), rel=1e-6)


def test_infonce_is_zero_without_negatives_and_log_count_with_equal_ones():
    same, allowed = torch.zeros(1, K), torch.ones(1, K, dtype=torch.bool)
    assert info_nce_loss(same[:, 0], same, ~allowed, 0.1).item() == 0
    assert info_nce_loss(same[:, 0], same, allowed, 0.1).item() == pytest.approx(math.log(1 + K))


def test_loss_ignores_student_norm():
    module, inputs = build("infonce"), make_inputs()
    before = module(inputs)
    inputs.student_BD = inputs.student_BD * 7
    torch.testing.assert_close(module(inputs), before)


def test_normaliser_is_set_by_first_batch_and_saved():
    module = build("nce")
    module(make_inputs(0))
    fixed = module.log_mean_score.clone()
    module(make_inputs(1))
    torch.testing.assert_close(module.log_mean_score, fixed, rtol=0, atol=0)
    again = build("nce")
    again.load_state_dict(module.state_dict())
    torch.testing.assert_close(again.log_mean_score, fixed, rtol=0, atol=0)


@pytest.mark.parametrize("noise_cap", [1.0, 0.2])
def test_normaliser_is_the_mean_score_of_the_pairs_in_the_loss(noise_cap):
    module, inputs = build("nce", noise_cap=noise_cap), make_inputs()
    module(inputs)
    scores = []
    for j in range(B):
        if not inputs.has_anchor_B[j]:
            continue
        anchor, student = inputs.anchor_BD[j], F.normalize(inputs.student_BD[j], dim=0)
        cross = slow_relation(module.cross_weight, module.cross_bias, anchor, student)
        others = [m for m, exists in zip(inputs.negative_BKD[j], inputs.negative_exists_BK[j], strict=True) if exists]
        for other in [inputs.teacher_BD[j], *(m for m in others if anchor @ m <= noise_cap)]:
            cosine = slow_relation(module.teacher_weight, module.teacher_bias, anchor, other) @ cross
            scores.append((cosine / module.spec.temperature).exp())
    torch.testing.assert_close(module.log_mean_score, torch.stack(scores).mean().log())


def test_masked_candidates_do_not_change_the_loss():
    """A batch whose lists are padded to a larger K."""
    inputs, padded = make_inputs(), make_inputs()
    padding_BKD = F.normalize(torch.randn(B, 20, D, dtype=torch.float64), dim=2)
    padded.negative_BKD = torch.cat([inputs.negative_BKD, padding_BKD], 1)
    padded.negative_exists_BK = torch.cat([inputs.negative_exists_BK, torch.zeros(B, 20, dtype=torch.bool)], 1)
    torch.testing.assert_close(build("nce")(padded), build("nce")(inputs))


@pytest.mark.parametrize("contrast", ["nce", "infonce"])
def test_batch_without_anchors_has_zero_loss(contrast):
    module, inputs = build(contrast), make_inputs()
    inputs.has_anchor_B = torch.zeros(B, dtype=torch.bool)
    loss = module(inputs)
    assert loss.item() == 0
    loss.backward()
    assert inputs.student_BD.grad.abs().sum() == 0


def test_literal_contrast_has_gradient_for_matching_negatives():
    """Where student and teacher relations of an impostor pair already agree, the literal contrast still has a gradient."""
    module, inputs = build("literal"), make_inputs()
    with torch.no_grad():
        module.cross_weight.copy_(module.teacher_weight)
        inputs.student_BD.copy_(inputs.teacher_BD)
    module(inputs)
    agree = (module(inputs), build("literal"))
    gradient = torch.autograd.grad(agree[0], module.cross_weight)[0]
    assert gradient.abs().sum() > 0


def test_initial_weights_are_deterministic():
    a, b = build(), build()
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"contrast": "triplet"}, "nce, infonce, literal, mutual; got 'triplet'"),
        ({"negatives": 0}, "negatives must be 1 or more; got 0"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"noise_cap": 1.5}, "at most 1; got 1.5"),
        ({"lone_faces": "drop"}, "view, skip; got 'drop'"),
        ({"relation": "mlp"}, "network, tied, difference; got 'mlp'"),
        ({"anchors": "all"}, "identity, batch; got 'all'"),
        ({"contrast": "mutual", "relation": "tied"}, "contrast='mutual' defines its own relations and anchors"),
        ({"contrast": "literal", "anchors": "batch"}, "contrast='literal' defines its own relations and anchors"),
    ],
)
def test_invalid_keys_are_rejected(keys, message):
    with pytest.raises(ValueError, match=message):
        RID(**keys)
