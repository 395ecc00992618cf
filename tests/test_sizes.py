"""Several sizes in one step: from the recipe through bank or online path to the terms, on one rank and on two."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aird_plugin import distributed
from aird_plugin.assemble import assemble
from aird_plugin.bridge.limits import refuse_sizes
from aird_plugin.data.degrade import arrive
from aird_plugin.data.lowres import to_input
from aird_plugin.data.sizes import SizesConfig
from aird_plugin.loop import compute_loss, save, set_learning_rate, take_step, train
from aird_plugin.losses.ccface import AdaptiveMargin
from aird_plugin.losses.magface import MagFace
from aird_plugin.losses.octuplet import Octuplet
from aird_plugin.losses.siamese import Siamese
from aird_plugin.models.head import Head, HeadConfig
from aird_plugin.objective import Objective, Sizes, Views, look
from aird_plugin.recipe import from_flat
from aird_plugin.runfolder import settle_run_folder
from aird_plugin.schedule import learning_rate
from aird_plugin.sizes import identity_loss, size_margins
from tests.exact import assert_equal_up_to_order, float64
from tests.ranks import on_ranks
from tests.test_distributed import CLASSES, FACES, WIDTH, Batch

OCTUPLET = {"octuplet": "aird_plugin.losses.octuplet:Octuplet"}
SIAMESE = {"siamese": "aird_plugin.losses.siamese:Siamese"}


@pytest.fixture
def keys(tiny_run, tmp_path):
    plain = {key: value for key, value in tiny_run.items() if key != "rid_negatives"}
    return plain | {"output": str(tmp_path / "out"), "bank": str(tmp_path / "bank"), "views": 4}


def several(keys, **more):
    return assemble(from_flat(keys | {"also_px": (8, 112), "identity_also": True, "terms": SIAMESE} | more))


@pytest.mark.parametrize("degradation", ["bicubic", "noise"])
def test_bank_and_online_path_give_the_same_further_sizes(keys, degradation):
    banked, online = several(keys, degradation=degradation), several(keys, degradation=degradation, online=True)
    for number in range(3):
        one, other = banked.source[number], online.source[number]
        assert [tuple(faces.shape) for faces in one.also_PBSSC] == [(8, 8, 8, 3), (8, 112, 112, 3)]
        for a, b in zip((one.faces_BHWC, *one.also_PBSSC), (other.faces_BHWC, *other.also_PBSSC), strict=True):
            assert torch.equal(a, b)
        assert other.high_BHWC is None, "nobody asks the teacher"


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp", "realworld"])
def test_bank_and_online_path_draw_the_same_sizes(keys, degradation):
    keys = keys | {"px_range": (8, 64), "terms": {}, "degradation": degradation}
    banked, online = assemble(from_flat(keys)), assemble(from_flat(keys | {"online": True}))
    for number in range(3):
        one, other = banked.source[number], online.source[number]
        assert one.faces_BHWC.shape == (8, 16, 16, 3) and len(set(one.px_B.tolist())) > 2
        assert torch.equal(one.px_B, other.px_B) and torch.equal(one.faces_BHWC, other.faces_BHWC)
        inputs = []
        hook = banked.student.register_forward_pre_hook(lambda _, args, seen=inputs: seen.append(args[0]))
        compute_loss(banked, one, 0, 1)
        hook.remove()
        assert torch.equal(inputs[0], to_input(one.faces_BHWC)), "what has arrived is left as it is"


def test_the_untouched_face_is_mirrored_once_on_the_online_path(keys):
    keys = keys | {"px": 112, "network": "native112_0.05m", "terms": {"align": "aird_plugin.losses.alignment:Alignment"}}
    banked, online = assemble(from_flat(keys)), assemble(from_flat(keys | {"online": True}))
    for number in range(3):
        batch = online.source[number]
        assert torch.equal(batch.faces_BHWC, banked.source[number].faces_BHWC)
        assert torch.equal(batch.faces_BHWC, batch.high_BHWC)


def test_the_student_sees_all_sizes_in_one_forward_and_terms_find_them(keys):
    training, inputs, seen = several(keys), [], []
    training.student.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    training.student.register_forward_hook(lambda *args: seen.append(args[2].detach()))
    found = []
    training.objective.register_forward_pre_hook(lambda _, args, kwargs: found.append(args[0]), with_kwargs=True)
    batch = training.source[0]
    compute_loss(training, batch, 0, 1)
    expected = [to_input(torch.from_numpy(arrive(faces.numpy(), 16))) for faces in (batch.faces_BHWC, *batch.also_PBSSC)]
    assert len(inputs) == 1 and torch.equal(inputs[0], torch.cat(expected))
    assert torch.equal(found[0].student_BD, seen[0][:8]) and torch.equal(found[0].also_PBD.flatten(0, 1), seen[0][8:])


def test_the_identity_loss_is_the_mean_over_sizes_or_that_of_the_main_one(keys):
    torch.manual_seed(0)
    head, sizes_PBD, person_B = several(keys).head, torch.randn(3, 8, 8), torch.arange(8)
    batch = SimpleNamespace(teacher_BD=None, person_B=person_B, row_B=None, anchor_BD=None, has_anchor_B=None, px_B=None,
                            negative_BKD=None, negative_exists_BK=None)  # fmt: skip
    each = []
    for size_BD in sizes_PBD:
        cosines = head.cosines(size_BD, None, person_B)
        each.append(head.loss(cosines.student_GC, cosines.label_G))
    views = look(sizes_PBD.flatten(0, 1), batch, head)
    torch.testing.assert_close(identity_loss(head, views, SizesConfig(also_px=(8, 12), identity_also=True), 0), sum(each) / 3)
    torch.testing.assert_close(identity_loss(head, views, SizesConfig(also_px=(8, 12)), 0), each[0])
    assert len({round(loss.item(), 4) for loss in each}) == 3


@pytest.mark.parametrize("margin", [MagFace(l_a=1.0, u_a=5.0), AdaptiveMargin()])
def test_another_margin_hears_of_each_size_by_itself(margin):
    """Its own lengths, and its own agreement with the teacher's word on the same faces."""
    generator = torch.Generator().manual_seed(0)
    centres, teacher_BD, *sizes = (torch.randn(5, 5, generator=generator) for _ in range(5))
    batch = SimpleNamespace(teacher_BD=teacher_BD, person_B=torch.arange(5), row_B=None, anchor_BD=None, has_anchor_B=None,
                            px_B=None, negative_BKD=None, negative_exists_BK=None)  # fmt: skip
    head = Head(HeadConfig(5, margin_scale=8.0), 5, centres, margin=margin)
    sizes_PBD = torch.stack([size_BD * (1 + place) for place, size_BD in enumerate(sizes)])
    each = []
    for size_BD in sizes_PBD:
        cosines = head.cosines(size_BD, None, batch.person_B)
        each.append(head.loss(cosines.student_GC, cosines.label_G, size_BD, teacher_BD))
    views = look(sizes_PBD.flatten(0, 1), batch, head)
    torch.testing.assert_close(identity_loss(head, views, SizesConfig(also_px=(8, 12), identity_also=True), 0), sum(each) / 3)


def test_a_small_face_has_a_small_margin():
    sizes = SizesConfig(px_range=(8, 32), margin_small=0.1)
    torch.testing.assert_close(size_margins(torch.tensor([8, 16, 32]), sizes, 0.5), torch.tensor([[0.1], [0.3], [0.5]]))
    head = Head(HeadConfig(3, margin_list=(1.0, 0.5, 0.0), margin_scale=1.0), 3, torch.eye(3))
    label_G, px_B = torch.arange(3), torch.tensor([8, 16, 32])
    views = Views(student_BD=torch.eye(3), person_B=label_G, student_cosine_GC=torch.eye(3) * 0.5, label_G=label_G, px_B=px_B)
    angle = torch.acos(torch.tensor(0.5)) + torch.tensor([0.1, 0.3, 0.5])
    expected = (-(angle.cos().exp() / (angle.cos().exp() + 2)).log()).mean()
    torch.testing.assert_close(identity_loss(head, views, sizes, 0), expected)


@pytest.mark.parametrize("more", [
    {"also_px": (8,), "identity_also": True, "terms": OCTUPLET, "faces_per_person": 3},
    {"px_range": (8, 64), "margin_small": 0.1, "terms": {"align": "aird_plugin.losses.alignment:Alignment"}},
])  # fmt: skip
def test_such_runs_go_on_to_the_bit(keys, tmp_path, more):
    """Stopped in the middle of an epoch."""
    keys = keys | more | {"num_epoch": 2}
    whole = train(from_flat(keys))
    recipe = from_flat(keys | {"output": str(tmp_path / "cut")})
    training = assemble(recipe)
    settle_run_folder(training)
    for step in range(5):
        set_learning_rate(training, learning_rate(recipe.schedule, step, training.steps_per_epoch))
        take_step(training, [training.source[step]], step)
    save(training, 5)
    resumed = train(recipe)
    weights = [torch.load(folder / "model.pt", weights_only=True) for folder in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any((training.student.state_dict()[name] != value).any() for name, value in weights[0].items())


@pytest.mark.parametrize(("change", "words"), [
    ({"also_px": (16,)}, "beside px=16 names a size twice"),
    ({"terms": OCTUPLET}, "also_px names one beside px, such as .* it has 0"),
    ({"terms": SIAMESE}, "also_px names one or more"),
    ({"terms": SIAMESE, "also_px": (8,), "teacher": None}, "^head_init='teacher' needs a teacher"),
])  # fmt: skip
def test_what_does_not_fit_is_told_before_training(keys, change, words):
    with pytest.raises(ValueError, match=words):
        assemble(from_flat(keys | change))


@pytest.mark.parametrize(("change", "words"), [
    ({"also_px": (8,)}, r"also_px=\(8,\) does not run inside arcface_torch; train without --arcface-torch"),
    ({"px_range": (8, 64), "margin_small": 0.1}, "margin_small=0.1 does not run inside arcface_torch"),
    ({"px_range": (8, 64), "reader": "upstream"}, "px_range=.* with reader='upstream'; train without .* or with reader='bank'"),
    ({"faces_per_person": 4, "reader": "upstream"}, "faces_per_person=4 does not run"),
])  # fmt: skip
def test_arcface_torch_is_not_asked_for_what_it_cannot_carry(keys, change, words):
    with pytest.raises(ValueError, match=words):
        refuse_sizes(from_flat(keys | {"terms": {}} | change))
    refuse_sizes(from_flat(keys | {"px_range": (8, 64), "faces_per_person": 4}))


def losses_and_gradients() -> dict[str, torch.Tensor]:
    """One step on this rank's faces, two further sizes, every term of sizes and each face's own margin."""
    torch.manual_seed(1)
    student = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, WIDTH))
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(2))
    head = Head(HeadConfig(CLASSES, margin_scale=8.0), WIDTH, centres)
    ranks, rank = distributed.world_size(), distributed.rank()
    network = DistributedDataParallel(student) if ranks > 1 else student
    count = FACES // ranks
    batch = Batch(slice(rank * count, rank * count + count))
    batch.person_B = torch.tensor([0, 6, 3, 3, 1, 3, 2, 1])[rank * count : rank * count + count]
    # No recipe asks for both at once.
    sizes = SimpleNamespace(px_range=(8, 64), margin_small=0.1, identity_also=True)
    views = look(network(torch.cat([batch.x, batch.x.flip(1), 0.5 * batch.x.roll(1, 1)])), batch, head)
    identity = identity_loss(head, views, sizes, 0)
    out = Objective({"siamese": Siamese()}, Sizes(WIDTH, also=2))(views, identity)
    pair = replace(views, also_PBD=views.also_PBD[:1])
    out["octuplet"] = Objective({"octuplet": Octuplet()}, Sizes(WIDTH, also=1))(pair, identity)["octuplet"]
    (out["loss"] + out["octuplet"]).backward()
    found = {f"loss/{name}": distributed.mean_over_ranks(value.detach()) for name, value in out.items()}
    return found | {f"student/{name}": p.grad for name, p in student.named_parameters()}


def test_two_ranks_equal_one(tmp_path):
    with float64():
        whole = losses_and_gradients()
    for part in on_ranks(losses_and_gradients, tmp_path):
        assert_equal_up_to_order(part, whole)
    assert all(value.abs().sum() > 0 for value in whole.values())
