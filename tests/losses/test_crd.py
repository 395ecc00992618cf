import pytest
import torch
from torch.nn import functional as F

from aird_plugin.losses.crd import Contrast, ContrastLoss, code, renewed
from aird_plugin.objective import Sizes, Views

FACES, WIDTH, CODE = 50, 5, 4
ROWS, DRAWN = torch.tensor([7, 0, 49]), torch.tensor([3, 11, 40, 3, 22, 8])


def build(seed=0, **keys) -> ContrastLoss:
    """A module in float64 with weights, memories and rows drawn of a test's own."""
    module = ContrastLoss(WIDTH, FACES, Contrast(**{"negatives": len(DRAWN), "width": CODE} | keys)).double()
    generator = torch.Generator().manual_seed(seed)
    views = make_views(generator)
    with torch.no_grad():
        for side in ("student", "teacher"):
            module.get_parameter(f"{side}_weight").copy_(draw(generator, CODE, WIDTH))
            module.get_parameter(f"{side}_bias").copy_(0.1 * draw(generator, CODE))
        module.student_memory_NR.copy_(draw(generator, FACES, CODE))
        module.teacher_memory_NR.copy_(draw(generator, FACES, CODE))
    module._draw = lambda number: DRAWN
    return module, views


def draw(generator, *shape):
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def make_views(generator) -> Views:
    student, teacher = draw(generator, 3, WIDTH), draw(generator, 3, WIDTH)
    return Views(student.requires_grad_(), torch.tensor([1, 2, 3]), ROWS, teacher, draw=5)


def slow_crd(module, views):
    """Equation 18 of the paper with Z = N * mean score: a face and a row at a time."""
    spec, total = module.spec, 0
    sides = {"student": views.student_BD, "teacher": views.teacher_BD}
    for side, other in (("student", "teacher"), ("teacher", "student")):
        memory = module.get_buffer(f"{other}_memory_NR").clone()
        weight, bias = module.get_parameter(f"{side}_weight"), module.get_parameter(f"{side}_bias")
        codes = [F.normalize(weight @ (x / x.norm()) + bias, dim=0) for x in sides[side]]
        rows = [[row, *DRAWN.tolist()] for row in ROWS.tolist()]
        scores = [[(c @ memory[n] / spec.temperature).exp() for n in ns] for c, ns in zip(codes, rows, strict=True)]
        constant = torch.stack([s for line in scores for s in line]).mean().detach() * FACES
        for line in scores:
            for place, score in enumerate(line):
                h = score / constant / (score / constant + len(DRAWN) / FACES)
                total = total - (h if place == 0 else 1 - h).log()
    return total / len(ROWS)


def test_it_equals_its_slow_loop_value_and_every_gradient():
    module, views = build()
    slow, fast = slow_crd(module, views), module(views)
    torch.testing.assert_close(fast, slow)
    inputs = [views.student_BD, *module.parameters()]
    for a, b in zip(*(torch.autograd.grad(x, inputs) for x in (fast, slow)), strict=True):
        torch.testing.assert_close(a, b)
        assert a.abs().sum() > 0


def test_the_figures_of_repdistiller():
    """HobbitLong/RepDistiller, crd/criterion.py and crd/memory.py at b84f547, in float64: two steps and both memories after each.

    Its 1e-7 beside the scores is what 1e-5 allows for.
    """
    module, views = build()
    for loss, student, teacher in (
        (27.116389644081856, -3.9930904996786905, -0.017645001522261006),
        (23.13695217920921, -3.609500564568101, -0.9619330741749323),
    ):
        assert module(views).item() == pytest.approx(loss, rel=1e-5)
        assert module.student_memory_NR[ROWS].sum().item() == pytest.approx(student, rel=1e-9)
        assert module.teacher_memory_NR[ROWS].sum().item() == pytest.approx(teacher, rel=1e-9)


def test_gradcheck():
    module, views = build()
    module(views)  # fixes the normalisers
    state = {name: value.clone() for name, value in module.named_buffers()}

    def loss(student_BD):
        module.load_state_dict(state, strict=False)
        return module(Views(student_BD, views.person_B, views.row_B, views.teacher_BD, draw=5))

    assert torch.autograd.gradcheck(loss, (views.student_BD,))


def test_codes_and_memories_in_the_head():
    one, two = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    torch.testing.assert_close(code(9 * one, torch.tensor([[3.0, 1], [4, 1]]), torch.zeros(2)), torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(renewed(one, two, 0.5), torch.tensor([[0.5, 0.5]]) * 2**0.5)
    torch.testing.assert_close(renewed(one, two, 0.0), two)


def test_only_the_rows_of_the_batch_are_renewed():
    module, views = build()
    before = {side: module.get_buffer(f"{side}_memory_NR").clone() for side in ("student", "teacher")}
    module(views)
    others = [n for n in range(FACES) if n not in ROWS.tolist()]
    for side, memory in before.items():
        after = module.get_buffer(f"{side}_memory_NR")
        assert torch.equal(after[others], memory[others])
        assert (after[ROWS] - memory[ROWS]).abs().sum(1).min() > 0
        torch.testing.assert_close(after[ROWS].norm(dim=1), torch.ones(3, dtype=torch.float64))
        assert not after.requires_grad


@pytest.mark.parametrize("row", [7, 30])
def test_the_face_itself_and_others_of_its_person_are_no_negatives(row):
    """Drawing such a row is as not drawing it."""
    module, views = build()
    module.person_N[30] = 1
    module.student_log_mean_score.fill_(0)
    module.teacher_log_mean_score.fill_(0)
    first = Views(*(x[:1] for x in (views.student_BD, views.person_B, views.row_B, views.teacher_BD)), draw=5)
    state = {name: value.clone() for name, value in module.state_dict().items()}

    def loss(*drawn):
        module.load_state_dict(state)
        module._draw = lambda number: torch.tensor(drawn)
        return module(first)

    torch.testing.assert_close(loss(3, row, 40), loss(3, 40))
    assert not torch.isclose(loss(3, 31, 40), loss(3, 40))


def test_the_rows_drawn_are_a_function_of_seed_and_draw():
    spec = Contrast(negatives=2000, width=CODE)
    a, b, c = (ContrastLoss(WIDTH, FACES, spec, seed) for seed in (0, 0, 1))
    assert torch.equal(a._draw(3), b._draw(3)) and not torch.equal(a._draw(3), c._draw(3))
    assert not torch.equal(a._draw(3), a._draw(4))
    assert sorted(set(a._draw(3).tolist())) == list(range(FACES))


def test_the_start_is_a_function_of_the_seed_and_its_rows_have_length_one_or_so():
    torch.manual_seed(1)
    first = Contrast(negatives=5).build(Sizes(WIDTH, 400)).state_dict()
    torch.manual_seed(2)
    again = Contrast(negatives=5).build(Sizes(WIDTH, 400)).state_dict()
    for name, value in first.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0, equal_nan=True)
    assert first["teacher_memory_NR"].shape == (400, 128)
    assert first["teacher_memory_NR"].square().sum(1).mean().item() == pytest.approx(1, rel=0.02)
    assert not torch.equal(first["teacher_memory_NR"], first["student_memory_NR"])


def test_a_resumed_module_equals_an_unbroken_one_to_the_bit():
    def steps(module, numbers):
        for number in numbers:
            module(Views(draw(torch.Generator().manual_seed(number), 3, WIDTH).float(), torch.tensor([number, 2, 3]),
                         torch.tensor([number, 9, 10]), draw(torch.Generator().manual_seed(-number), 3, WIDTH).float(),
                         draw=number))  # fmt: skip
        return module

    spec = Contrast(negatives=20, width=CODE)
    whole = steps(ContrastLoss(WIDTH, FACES, spec), range(4))
    again = ContrastLoss(WIDTH, FACES, spec, seed=0)
    again.load_state_dict(steps(ContrastLoss(WIDTH, FACES, spec), range(2)).state_dict())
    again = steps(again, range(2, 4))
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert not torch.isnan(whole.student_log_mean_score)


def test_the_students_length_and_zero_embeddings():
    module, views = build()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    loss = module(views)
    module.load_state_dict(state)
    longer = Views(7 * views.student_BD, views.person_B, views.row_B, views.teacher_BD, draw=5)
    torch.testing.assert_close(module(longer), loss)
    zero = torch.zeros(3, WIDTH, dtype=torch.float64, requires_grad=True)
    module(Views(zero, views.person_B, views.row_B, torch.zeros_like(zero), draw=5)).backward()
    assert torch.isfinite(zero.grad).all() and torch.isfinite(module.student_memory_NR).all()


def test_a_batch_of_one_person_whose_rows_alone_are_drawn():
    module, views = build()
    module.person_N[DRAWN] = 1
    loss = module(Views(views.student_BD, torch.tensor([1, 1, 1]), views.row_B, views.teacher_BD, draw=5))
    assert torch.isfinite(loss)


def test_no_gradient_reaches_the_teacher():
    module, views = build()
    views.teacher_BD.requires_grad_()
    module(views).backward()
    assert views.teacher_BD.grad is None and views.student_BD.grad.abs().sum() > 0


def test_a_batch_without_rows_and_a_training_set_without_faces_are_refused():
    module, views = build()
    views.row_B = None
    with pytest.raises(ValueError, match="does not say which rows"):
        module(views)
    with pytest.raises(ValueError, match="needs 2 or more; got 0"):
        Contrast().build(Sizes(WIDTH))


@pytest.mark.parametrize(("keys", "words"), [
    ({"negatives": 0}, "negatives must be 1 or more; got 0"), ({"width": -1}, "width must be 1 or more; got -1"),
    ({"temperature": 0.0}, "temperature must be above 0; got 0.0"), ({"momentum": 1.0}, "below 1; got 1.0"),
])  # fmt: skip
def test_wrong_keys_are_refused(keys, words):
    with pytest.raises(ValueError, match=words):
        Contrast(**keys)
