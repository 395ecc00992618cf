import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.crd import CRD, CRDLoss, encode, update_rows
from aird_plugin.training.objective import LossDims, LossInputs
from tests.losses.loops import assert_equals_loop

IMAGES, WIDTH, CODE = 50, 5, 4
ROWS, SAMPLED = torch.tensor([7, 0, 49]), torch.tensor([3, 11, 40, 3, 22, 8])


def build(seed=0, **keys) -> tuple[CRDLoss, LossInputs]:
    """A module in float64 with seeded weights and memories and fixed sampled rows, and its inputs."""
    module = CRDLoss(WIDTH, IMAGES, CRD(**{"negatives": len(SAMPLED), "width": CODE} | keys)).double()
    generator = torch.Generator().manual_seed(seed)
    inputs = make_inputs(generator)
    with torch.no_grad():
        for side in ("student", "teacher"):
            module.get_parameter(f"{side}_weight").copy_(draw(generator, CODE, WIDTH))
            module.get_parameter(f"{side}_bias").copy_(0.1 * draw(generator, CODE))
        module.student_memory_NR.copy_(draw(generator, IMAGES, CODE))
        module.teacher_memory_NR.copy_(draw(generator, IMAGES, CODE))
    module._draw = lambda batch_index: SAMPLED
    return module, inputs


def draw(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def make_inputs(generator) -> LossInputs:
    student, teacher = draw(generator, 3, WIDTH), draw(generator, 3, WIDTH)
    return LossInputs(student.requires_grad_(), torch.tensor([1, 2, 3]), ROWS, teacher, batch_index=5)


def slow_crd(module, inputs):
    """Equation 18 of the paper with Z = N * mean score: a loop over images and rows."""
    spec, total = module.spec, 0
    sides = {"student": inputs.student_BD, "teacher": inputs.teacher_BD}
    for side, other in (("student", "teacher"), ("teacher", "student")):
        memory = module.get_buffer(f"{other}_memory_NR").clone()
        weight, bias = module.get_parameter(f"{side}_weight"), module.get_parameter(f"{side}_bias")
        codes = [F.normalize(weight @ (x / x.norm()) + bias, dim=0) for x in sides[side]]
        rows = [[row, *SAMPLED.tolist()] for row in ROWS.tolist()]
        scores = [[(c @ memory[n] / spec.temperature).exp() for n in ns] for c, ns in zip(codes, rows, strict=True)]
        constant = torch.stack([s for line in scores for s in line]).mean().detach() * IMAGES
        for line in scores:
            for column, score in enumerate(line):
                h = score / constant / (score / constant + len(SAMPLED) / IMAGES)
                total = total - (h if column == 0 else 1 - h).log()
    return total / len(ROWS)


def test_value_and_all_gradients_equal_loop():
    module, inputs = build()
    slow, fast = slow_crd(module, inputs), module(inputs)
    assert_equals_loop(fast, slow, [inputs.student_BD, *module.parameters()])


def test_loss_equals_repdistiller():
    """HobbitLong/RepDistiller, crd/criterion.py and crd/memory.py at b84f547, in float64: two steps and both memories after each.

    The tolerance of 1e-5 covers the 1e-7 that it adds to the scores.
    """
    module, inputs = build()
    for loss, student, teacher in (
        (27.116389644081856, -3.9930904996786905, -0.017645001522261006),
        (23.13695217920921, -3.609500564568101, -0.9619330741749323),
    ):
        assert module(inputs).item() == pytest.approx(loss, rel=1e-5)
        assert module.student_memory_NR[ROWS].sum().item() == pytest.approx(student, rel=1e-9)
        assert module.teacher_memory_NR[ROWS].sum().item() == pytest.approx(teacher, rel=1e-9)


def test_gradcheck():
    module, inputs = build()
    module(inputs)  # Initialises the normalisers.
    state = {name: value.clone() for name, value in module.named_buffers()}

    def loss(student_BD):
        module.load_state_dict(state, strict=False)
        return module(LossInputs(student_BD, inputs.label_B, inputs.row_B, inputs.teacher_BD, batch_index=5))

    assert torch.autograd.gradcheck(loss, (inputs.student_BD,))


def test_codes_and_row_updates_match_hand_computed_values():
    one, two = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    torch.testing.assert_close(encode(9 * one, torch.tensor([[3.0, 1], [4, 1]]), torch.zeros(2)), torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(update_rows(one, two, 0.5), torch.tensor([[0.5, 0.5]]) * 2**0.5)
    torch.testing.assert_close(update_rows(one, two, 0.0), two)


def test_only_rows_of_the_batch_are_updated():
    module, inputs = build()
    before = {side: module.get_buffer(f"{side}_memory_NR").clone() for side in ("student", "teacher")}
    module(inputs)
    others = [n for n in range(IMAGES) if n not in ROWS.tolist()]
    for side, memory in before.items():
        after = module.get_buffer(f"{side}_memory_NR")
        assert torch.equal(after[others], memory[others])
        assert (after[ROWS] - memory[ROWS]).abs().sum(1).min() > 0
        torch.testing.assert_close(after[ROWS].norm(dim=1), torch.ones(3, dtype=torch.float64))
        assert not after.requires_grad


@pytest.mark.parametrize("row", [7, 30])
def test_own_row_and_rows_of_same_identity_are_excluded(row):
    """Sampling such a row has no effect."""
    module, inputs = build()
    module.person_N[30] = 1
    module.student_log_mean_score.fill_(0)
    module.teacher_log_mean_score.fill_(0)
    first = LossInputs(*(x[:1] for x in (inputs.student_BD, inputs.label_B, inputs.row_B, inputs.teacher_BD)), batch_index=5)
    state = {name: value.clone() for name, value in module.state_dict().items()}

    def loss(*drawn):
        module.load_state_dict(state)
        module._draw = lambda batch_index: torch.tensor(drawn)
        return module(first)

    torch.testing.assert_close(loss(3, row, 40), loss(3, 40))
    assert not torch.isclose(loss(3, 31, 40), loss(3, 40))


def test_sampled_rows_depend_on_seed_and_batch_index():
    spec = CRD(negatives=2000, width=CODE)
    a, b, c = (CRDLoss(WIDTH, IMAGES, spec, seed) for seed in (0, 0, 1))
    assert torch.equal(a._draw(3), b._draw(3)) and not torch.equal(a._draw(3), c._draw(3))
    assert not torch.equal(a._draw(3), a._draw(4))
    assert sorted(set(a._draw(3).tolist())) == list(range(IMAGES))


def test_initial_state_is_seeded_and_rows_have_norm_near_one():
    torch.manual_seed(1)
    first = CRD(negatives=5).build(LossDims(WIDTH, 400)).state_dict()
    torch.manual_seed(2)
    second = CRD(negatives=5).build(LossDims(WIDTH, 400)).state_dict()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=0, atol=0, equal_nan=True)
    assert first["teacher_memory_NR"].shape == (400, 128)
    assert first["teacher_memory_NR"].square().sum(1).mean().item() == pytest.approx(1, rel=0.02)
    assert not torch.equal(first["teacher_memory_NR"], first["student_memory_NR"])


def test_resumed_module_equals_uninterrupted_one_bitwise():
    def steps(module, numbers):
        for number in numbers:
            module(
                LossInputs(
                    draw(torch.Generator().manual_seed(number), 3, WIDTH).float(),
                    torch.tensor([number, 2, 3]),
                    torch.tensor([number, 9, 10]),
                    draw(torch.Generator().manual_seed(-number), 3, WIDTH).float(),
                    batch_index=number,
                )
            )
        return module

    spec = CRD(negatives=20, width=CODE)
    uninterrupted = steps(CRDLoss(WIDTH, IMAGES, spec), range(4))
    resumed = CRDLoss(WIDTH, IMAGES, spec, seed=0)
    resumed.load_state_dict(steps(CRDLoss(WIDTH, IMAGES, spec), range(2)).state_dict())
    resumed = steps(resumed, range(2, 4))
    for name, value in uninterrupted.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert not torch.isnan(uninterrupted.student_log_mean_score)


def test_loss_ignores_student_norm_and_zero_embeddings_are_finite():
    module, inputs = build()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    loss = module(inputs)
    module.load_state_dict(state)
    longer = LossInputs(7 * inputs.student_BD, inputs.label_B, inputs.row_B, inputs.teacher_BD, batch_index=5)
    torch.testing.assert_close(module(longer), loss)
    zero = torch.zeros(3, WIDTH, dtype=torch.float64, requires_grad=True)
    module(LossInputs(zero, inputs.label_B, inputs.row_B, torch.zeros_like(zero), batch_index=5)).backward()
    assert torch.isfinite(zero.grad).all() and torch.isfinite(module.student_memory_NR).all()


def test_batch_of_one_identity_without_negatives_is_finite():
    module, inputs = build()
    module.person_N[SAMPLED] = 1
    loss = module(LossInputs(inputs.student_BD, torch.tensor([1, 1, 1]), inputs.row_B, inputs.teacher_BD, batch_index=5))
    assert torch.isfinite(loss)


def test_teacher_has_no_gradient():
    module, inputs = build()
    inputs.teacher_BD.requires_grad_()
    module(inputs).backward()
    assert inputs.teacher_BD.grad is None and inputs.student_BD.grad.abs().sum() > 0


def test_missing_rows_and_empty_training_set_are_rejected():
    module, inputs = build()
    inputs.row_B = None
    with pytest.raises(ValueError, match="needs the row index of each image"):
        module(inputs)
    with pytest.raises(ValueError, match="needs 2 or more training images; got 0"):
        CRD().build(LossDims(WIDTH))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"negatives": 0}, "negatives must be 1 or more; got 0"),
        ({"width": -1}, "width must be 1 or more; got -1"),
        ({"temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ({"momentum": 1.0}, "below 1; got 1.0"),
    ],
)
def test_invalid_keys_are_rejected(keys, message):
    with pytest.raises(ValueError, match=message):
        CRD(**keys)
