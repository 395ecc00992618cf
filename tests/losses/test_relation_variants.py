"""RID's further variants: tied relations, differences, anchors from the batch, and relations as distributions."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.relation import RID, RelationLoss
from aird_plugin.losses.relation_vectors import difference
from tests.losses.loops import assert_equals_loop
from tests.losses.test_relation import B, D, build, make_inputs, slow_relation

VARIANTS = [
    {"relation": relation, "anchors": anchors, "contrast": contrast}
    for relation in ("network", "tied", "difference")
    for anchors in ("identity", "batch")
    for contrast in ("nce", "infonce")
    if (relation, anchors) != ("network", "identity")
] + [{"contrast": "mutual"}]


def slow_pair(module: RelationLoss, side: str, anchor, other):
    """r_t or r_ts of one pair."""
    if module.spec.relation == "difference":
        return (other - anchor) / (other - anchor).norm()
    side = "teacher" if module.spec.relation == "tied" else side
    return slow_relation(getattr(module, f"{side}_weight"), getattr(module, f"{side}_bias"), anchor, other)


def slow_contrast(module: RelationLoss, positive, negatives: list):
    """Of one row; CRD's N cancels and is left out."""
    temperature = module.spec.temperature
    if module.spec.contrast == "infonce":
        return -(positive / temperature) + torch.stack([positive, *negatives]).div(temperature).exp().sum().log()

    def h(cosine):
        p = (cosine / temperature).exp() / module.log_mean_score.exp()
        return p / (p + max(len(negatives), 1))

    return -h(positive).log() - sum((1 - h(negative)).log() for negative in negatives)


def slow_own_anchor(module: RelationLoss, inputs, students, j: int):
    anchor = inputs.anchor_BD[j]
    cross = slow_pair(module, "cross", anchor, students[j])
    negatives = [
        slow_pair(module, "teacher", anchor, m) @ cross
        for m, exists in zip(inputs.negative_BKD[j], inputs.negative_exists_BK[j], strict=True)
        if exists and anchor @ m <= module.spec.noise_cap
    ]
    return slow_contrast(module, slow_pair(module, "teacher", anchor, inputs.teacher_BD[j]) @ cross, negatives)


def slow_batch_anchors(module: RelationLoss, inputs, students, j: int):
    teachers, labels = inputs.teacher_BD, inputs.label_B
    losses = []
    for i in range(B):
        if labels[i] == labels[j]:
            continue
        cross = slow_pair(module, "cross", teachers[i], students[j])
        candidates = [c for c in range(B) if c != i and labels[c] != labels[j]]
        candidates = [c for c in candidates if teachers[c] @ teachers[j] <= module.spec.noise_cap]
        negatives = [slow_pair(module, "teacher", teachers[i], teachers[c]) @ cross for c in candidates]
        losses.append(slow_contrast(module, slow_pair(module, "teacher", teachers[i], teachers[j]) @ cross, negatives))
    return sum(losses) / max(len(losses), 1)


def slow_mutual(module: RelationLoss, inputs, students, j: int):
    anchors = [inputs.teacher_BD[i] for i in range(B) if i != j]
    anchors += [inputs.anchor_BD[j]] if inputs.has_anchor_B[j] else []
    anchors += [m for m, exists in zip(inputs.negative_BKD[j], inputs.negative_exists_BK[j], strict=True) if exists]

    def shares(embedding):
        scores = torch.stack([embedding @ anchor for anchor in anchors]).div(module.spec.temperature).exp()
        return scores / scores.sum()

    teacher, student = shares(inputs.teacher_BD[j]), shares(students[j])
    return (teacher * (teacher / student).log()).sum()


def slow_rid(module: RelationLoss, inputs) -> torch.Tensor:
    spec = module.spec
    of_image = slow_batch_anchors if spec.anchors == "batch" else slow_own_anchor
    of_image = slow_mutual if spec.contrast == "mutual" else of_image
    everyone = spec.contrast == "mutual" or spec.anchors == "batch"
    students = [row / row.norm() for row in inputs.student_BD]
    return sum(of_image(module, inputs, students, j) for j in range(B) if everyone or inputs.has_anchor_B[j]) / B


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda keys: "-".join(keys.values()))
@pytest.mark.parametrize("noise_cap", [1.0, 0.2])
def test_value_and_all_gradients_equal_loop(variant, noise_cap):
    module, inputs = build(noise_cap=noise_cap, **variant), make_inputs()
    fast = module(inputs)
    slow = slow_rid(module, inputs)
    assert_equals_loop(fast, slow, [inputs.student_BD, *module.parameters()])


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda keys: "-".join(keys.values()))
def test_gradcheck(variant):
    module, inputs = build(**variant), make_inputs()
    module(inputs)  # Initialises the normaliser.

    def loss(student_BD):
        return module(SimpleNamespace(**{**vars(inputs), "student_BD": student_BD}))

    assert torch.autograd.gradcheck(loss, (inputs.student_BD,))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda keys: "-".join(keys.values()))
def test_only_networks_are_trained(variant):
    names = [name for name, _ in build(**variant).named_parameters()]
    networks = {"network": ["teacher", "cross"], "tied": ["teacher"]}.get(variant.get("relation", ""), [])
    assert names == [f"{network}_{part}" for network in networks for part in ("weight", "bias")]


def test_difference_is_a_unit_vector_from_the_anchor():
    anchor, other = torch.tensor([[1.0, 1.0]]), torch.tensor([[4.0, 5.0]])
    torch.testing.assert_close(difference(anchor, other), torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(difference(anchor, other[:, None].expand(1, 3, 2)), torch.tensor([[[0.6, 0.8]] * 3]))
    assert difference(anchor, anchor).abs().sum() == 0


@pytest.mark.parametrize("contrast", ["difference", "mutual"])
def test_perfect_student_is_a_minimum_with_a_gradient_towards_the_teacher(contrast):
    """At the teacher's embeddings the mutual loss is 0; off them, descent turns the student towards the teacher."""
    keys = {"contrast": "mutual"} if contrast == "mutual" else {"contrast": "infonce", "relation": "difference"}
    module, inputs = build(**keys), make_inputs()
    inputs.has_anchor_B = torch.ones(B, dtype=torch.bool)
    inputs.student_BD = inputs.teacher_BD.clone().requires_grad_()
    if contrast == "mutual":
        assert module(inputs).item() == pytest.approx(0, abs=1e-12)
    noise_BD = torch.randn(B, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs.student_BD = F.normalize(inputs.teacher_BD + 0.3 * noise_BD).requires_grad_()
    [gradient_BD] = torch.autograd.grad(module(inputs), inputs.student_BD)
    towards_BD = inputs.teacher_BD - inputs.student_BD
    assert (-gradient_BD * towards_BD).sum() > 0


def test_mutual_and_batch_anchors_ignore_the_student_norm():
    for keys in ({"contrast": "mutual"}, {"contrast": "infonce", "anchors": "batch"}):
        module, inputs = build(**keys), make_inputs()
        before = module(inputs)
        inputs.student_BD = inputs.student_BD * 7
        torch.testing.assert_close(module(inputs), before)


def test_batch_of_one_identity_has_zero_loss_and_no_gradient():
    module, inputs = build("infonce", anchors="batch"), make_inputs()
    inputs.label_B = torch.zeros(B, dtype=torch.int64)
    loss = module(inputs)
    loss.backward()
    assert loss.item() == 0 and inputs.student_BD.grad.abs().sum() == 0


def test_run_and_checkpoint_of_every_reading_have_their_keys():
    for keys in VARIANTS:
        module = build(**keys)
        module(make_inputs())
        again = build(**keys)
        again.load_state_dict(module.state_dict())
        torch.testing.assert_close(again(make_inputs(3)), module(make_inputs(3)), rtol=0, atol=0)
    assert RID().relation == "network" and RID().anchors == "identity"
