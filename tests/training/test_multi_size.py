"""Several input sizes per step: from the recipe through bank or online path to the terms, on one rank and on two."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from aird_plugin.bridge.host import refuse_sizes
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.degradation import resize_to_network
from aird_plugin.data.lowres import to_input
from aird_plugin.data.multi_size import SizesConfig
from aird_plugin.losses.adaface import AdaFace
from aird_plugin.losses.ccface import AdaptiveMargin
from aird_plugin.losses.magface import MagFace
from aird_plugin.losses.octuplet import Octuplet
from aird_plugin.losses.siamese import Siamese
from aird_plugin.models.head import Head, HeadConfig
from aird_plugin.training.identity_loss import identity_loss, size_margins
from aird_plugin.training.loop import compute_loss, save, set_learning_rate, take_step, train
from aird_plugin.training.objective import LossDims, LossInputs, Objective, build_loss_inputs
from aird_plugin.training.optim import learning_rate
from aird_plugin.training.run_folder import write_or_verify_run
from aird_plugin.training.state import build_state
from tests.exact import assert_equal_up_to_order, float64
from tests.rank_step import WIDTH, Batch, in_ddp, losses_and_gradients_of, small_head, small_student
from tests.ranks import on_ranks
from tests.runs import assert_same_to_the_bit, weights

OCTUPLET = {"octuplet": "aird_plugin.losses.octuplet:Octuplet"}
SIAMESE = {"siamese": "aird_plugin.losses.siamese:Siamese"}


@pytest.fixture
def keys(tiny_run, tmp_path):
    plain = {key: value for key, value in tiny_run.items() if key != "rid_negatives"}
    return plain | {"output": str(tmp_path / "out"), "bank": str(tmp_path / "bank"), "views": 4}


def multi_size_state(keys, **more):
    return build_state(from_flat(keys | {"also_px": (8, 112), "identity_also": True, "terms": SIAMESE} | more))


@pytest.mark.parametrize("degradation", ["bicubic", "noise"])
def test_bank_and_online_path_return_the_same_additional_sizes(keys, degradation):
    banked, online = multi_size_state(keys, degradation=degradation), multi_size_state(keys, degradation=degradation, online=True)
    for number in range(3):
        one, other = banked.setup.source[number], online.setup.source[number]
        assert [tuple(images.shape) for images in one.also_PBSSC] == [(8, 8, 8, 3), (8, 112, 112, 3)]
        for a, b in zip((one.images_BHWC, *one.also_PBSSC), (other.images_BHWC, *other.also_PBSSC), strict=True):
            assert torch.equal(a, b)
        assert other.hr_BHWC is None, "no term uses the teacher"


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp", "realworld"])
def test_bank_and_online_path_draw_the_same_sizes(keys, degradation):
    keys = keys | {"px_range": (8, 64), "terms": {}, "degradation": degradation}
    banked, online = build_state(from_flat(keys)), build_state(from_flat(keys | {"online": True}))
    for number in range(3):
        one, other = banked.setup.source[number], online.setup.source[number]
        assert one.images_BHWC.shape == (8, 16, 16, 3) and len(set(one.px_B.tolist())) > 2
        assert torch.equal(one.px_B, other.px_B) and torch.equal(one.images_BHWC, other.images_BHWC)
        inputs = []
        hook = banked.setup.student.register_forward_pre_hook(lambda _, args, given=inputs: given.append(args[0]))
        compute_loss(banked, one, 0, 1)
        hook.remove()
        assert torch.equal(inputs[0], to_input(one.images_BHWC)), "images of the network's size are not resized again"


MIXTURE = {"bicubic": 1, "insightface-warp": 1, "noise": 1, "realworld": 1.5}


@pytest.mark.parametrize("sizes", [{"px_range": (8, 64), "untouched": 0.2}, {}])
def test_bank_online_path_and_training_device_draw_the_same_mixture(keys, sizes):
    keys = keys | {"terms": {}, "degradation": MIXTURE} | sizes
    banked, online = build_state(from_flat(keys)), build_state(from_flat(keys | {"online": True}))
    for number in range(3):
        one, other = banked.setup.source[number], online.setup.source[number]
        assert torch.equal(one.px_B, other.px_B) and torch.equal(one.images_BHWC, other.images_BHWC)
        assert set(one.px_B.tolist()) == {16} or "px_range" in sizes
        banked.setup.source.on_training_device = True
        left = banked.setup.source[number]
        banked.setup.source.on_training_device = False
        assert left.images_BHWC.shape[1] == 112
        moved = banked.setup.to_device(left)
        assert torch.equal(moved.images_BHWC, one.images_BHWC) and moved.resize is None
    assert banked.setup.input_degradation == "bicubic"


def test_a_run_with_a_mixture_resumes_and_records_it(keys, tmp_path, pairs_file):
    keys = keys | {"terms": {}, "degradation": MIXTURE, "px_range": (8, 64), "untouched": 0.25, "num_workers": 1}
    keys |= {"output": str(tmp_path / "run"), "num_epoch": 1, "val_targets": (str(pairs_file),), "val_protocols": ("lr-lr",)}
    folder = train(from_flat(keys))
    metadata = json.loads((folder / "recipe.json").read_text())
    assert metadata["recipe"]["degradation"] == MIXTURE and metadata["resize"].startswith("mixture of bicubic: pillow-bicubic")
    assert {row["degradation"] for row in json.loads((folder / "evaluation.json").read_text())} == {"bicubic"}
    assert from_flat(metadata["recipe"]).data.degradation == MIXTURE
    train(from_flat(keys | {"degradation": dict(reversed(MIXTURE.items()))}))
    with pytest.raises(ValueError, match="degradation was {.*'realworld': 1.5.*}, now {'bicubic': 1}"):
        train(from_flat(keys | {"degradation": {"bicubic": 1}}))


def test_full_size_image_is_mirrored_once_on_the_online_path(keys):
    keys = keys | {"px": 112, "network": "native112_0.05m", "terms": {"align": "aird_plugin.losses.cosine:CosineRegression"}}
    banked, online = build_state(from_flat(keys)), build_state(from_flat(keys | {"online": True}))
    for number in range(3):
        batch = online.setup.source[number]
        assert torch.equal(batch.images_BHWC, banked.setup.source[number].images_BHWC)
        assert torch.equal(batch.images_BHWC, batch.hr_BHWC)


def test_all_sizes_go_through_one_student_forward(keys):
    state, inputs, outputs = multi_size_state(keys), [], []
    state.setup.student.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    state.setup.student.register_forward_hook(lambda *args: outputs.append(args[2].detach()))
    found = []
    state.setup.objective.register_forward_pre_hook(lambda _, args, kwargs: found.append(args[0]), with_kwargs=True)
    batch = state.setup.source[0]
    compute_loss(state, batch, 0, 1)
    expected = [
        to_input(torch.from_numpy(resize_to_network(images.numpy(), 16))) for images in (batch.images_BHWC, *batch.also_PBSSC)
    ]
    assert len(inputs) == 1 and torch.equal(inputs[0], torch.cat(expected))
    assert torch.equal(found[0].student_BD, outputs[0][:8]) and torch.equal(found[0].also_PBD.flatten(0, 1), outputs[0][8:])


def test_identity_loss_is_the_mean_over_sizes_or_the_main_sizes(keys):
    torch.manual_seed(0)
    head, sizes_PBD, label_B = multi_size_state(keys).head, torch.randn(3, 8, 8), torch.arange(8)
    batch = SimpleNamespace(
        teacher_BD=None,
        label_B=label_B,
        row_B=None,
        teacher_maps=(),
        generative_BCHW=None,
        anchor_BD=None,
        has_anchor_B=None,
        px_B=None,
        negative_BKD=None,
        negative_exists_BK=None,
    )
    each = []
    for size_BD in sizes_PBD:
        cosines = head.cosines(size_BD, None, label_B)
        each.append(head.loss(cosines.student_GC, cosines.label_G))
    inputs = build_loss_inputs(sizes_PBD.flatten(0, 1), batch, head)
    torch.testing.assert_close(identity_loss(head, inputs, SizesConfig(also_px=(8, 12), identity_also=True), 0), sum(each) / 3)
    torch.testing.assert_close(identity_loss(head, inputs, SizesConfig(also_px=(8, 12)), 0), each[0])
    assert len({round(loss.item(), 4) for loss in each}) == 3


@pytest.mark.parametrize("margin", [MagFace(l_a=1.0, u_a=5.0), AdaptiveMargin()])
def test_margin_inputs_are_computed_per_size(margin):
    """Embedding lengths and the agreement with the teacher are those of each size on its own."""
    generator = torch.Generator().manual_seed(0)
    centers, teacher_BD, *sizes = (torch.randn(5, 5, generator=generator) for _ in range(5))
    batch = SimpleNamespace(
        teacher_BD=teacher_BD,
        label_B=torch.arange(5),
        row_B=None,
        teacher_maps=(),
        generative_BCHW=None,
        anchor_BD=None,
        has_anchor_B=None,
        px_B=None,
        negative_BKD=None,
        negative_exists_BK=None,
    )
    head = Head(HeadConfig(5, margin_scale=8.0), 5, centers, margin=margin)
    sizes_PBD = torch.stack([size_BD * (1 + place) for place, size_BD in enumerate(sizes)])
    each = []
    for size_BD in sizes_PBD:
        cosines = head.cosines(size_BD, None, batch.label_B)
        each.append(head.loss(cosines.student_GC, cosines.label_G, size_BD, teacher_BD))
    inputs = build_loss_inputs(sizes_PBD.flatten(0, 1), batch, head)
    torch.testing.assert_close(identity_loss(head, inputs, SizesConfig(also_px=(8, 12), identity_also=True), 0), sum(each) / 3)


def test_running_statistics_of_a_margin_are_updated_once_a_batch():
    """By the norms of all sizes together: 1 at the first, 3 at the second."""
    label_B = torch.arange(5)
    head = Head(HeadConfig(5, margin_scale=8.0), 5, torch.eye(5), margin=AdaFace(t_alpha=0.5))
    first_BD, also_BD = torch.eye(5), 3 * torch.eye(5)
    inputs = LossInputs(
        student_BD=first_BD,
        label_B=label_B,
        student_cosine_GC=torch.eye(5),
        label_G=label_B,
        also_PBD=also_BD[None],
    )
    identity_loss(head, inputs, SizesConfig(also_px=(8,), identity_also=True), 0)
    norm_G = torch.cat([first_BD, also_BD]).norm(dim=1)
    torch.testing.assert_close(head.margin.mean, (20 + norm_G.mean()) / 2)
    torch.testing.assert_close(head.margin.std, (100 + norm_G.std()) / 2)


def test_small_image_has_a_small_margin():
    sizes = SizesConfig(px_range=(8, 32), margin_small=0.1)
    # The last image is untouched.
    margins_G1 = size_margins(torch.tensor([8, 16, 32, 112]), sizes, 0.5)
    torch.testing.assert_close(margins_G1, torch.tensor([[0.1], [0.3], [0.5], [0.5]]))
    head = Head(HeadConfig(3, margin_list=(1.0, 0.5, 0.0), margin_scale=1.0), 3, torch.eye(3))
    label_G, px_B = torch.arange(3), torch.tensor([8, 16, 32])
    inputs = LossInputs(
        student_BD=torch.eye(3), label_B=label_G, student_cosine_GC=torch.eye(3) * 0.5, label_G=label_G, px_B=px_B
    )
    angle = torch.acos(torch.tensor(0.5)) + torch.tensor([0.1, 0.3, 0.5])
    expected = (-(angle.cos().exp() / (angle.cos().exp() + 2)).log()).mean()
    torch.testing.assert_close(identity_loss(head, inputs, sizes, 0), expected)


@pytest.mark.parametrize(
    "more",
    [
        {"also_px": (8,), "identity_also": True, "terms": OCTUPLET, "faces_per_person": 3},
        {"px_range": (8, 64), "margin_small": 0.1, "terms": {"align": "aird_plugin.losses.cosine:CosineRegression"}},
        {"px_range": (8, 64), "terms": {}, "degradation": MIXTURE, "untouched": 0.2},
    ],
)
def test_resumed_multi_size_run_is_bit_identical(keys, tmp_path, more):
    """Stopped in the middle of an epoch."""
    keys = keys | more | {"num_epoch": 2}
    whole = train(from_flat(keys))
    recipe = from_flat(keys | {"output": str(tmp_path / "cut")})
    state = build_state(recipe)
    write_or_verify_run(state.setup.recipe, state.setup.metadata)
    for step in range(5):
        set_learning_rate(state, learning_rate(recipe.schedule, step, state.setup.steps_per_epoch))
        take_step(state, [state.setup.source[step]], step)
    save(state, 5)
    resumed = train(recipe)
    assert_same_to_the_bit(weights(resumed), weights(whole))
    assert any((state.setup.student.state_dict()[name] != value).any() for name, value in weights(whole).items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"also_px": (16,)}, "with px=16 contains a size twice"),
        ({"terms": OCTUPLET}, "needs one size in also_px beside px, such as .* got 0 sizes"),
        ({"terms": SIAMESE}, "needs one or more sizes in also_px"),
        ({"terms": SIAMESE, "also_px": (8,), "teacher": None}, "^head_init='teacher' needs a teacher"),
    ],
)
def test_invalid_recipe_is_rejected_before_training(keys, change, words):
    with pytest.raises(ValueError, match=words):
        build_state(from_flat(keys | change))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"also_px": (8,)}, r"also_px=\(8,\) does not run inside arcface_torch; train without --arcface-torch"),
        ({"px_range": (8, 64), "margin_small": 0.1}, "margin_small=0.1 does not run inside arcface_torch"),
        (
            {"px_range": (8, 64), "reader": "upstream"},
            "px_range=.* with reader='upstream'; train without .* or with reader='bank'",
        ),
        ({"faces_per_person": 4, "reader": "upstream"}, "faces_per_person=4 does not run"),
        ({"degradation": {"blur": 1}, "reader": "upstream"}, "degradation={'blur': 1} does not run.*or with reader='bank'"),
    ],
)
def test_arcface_torch_rejects_multi_size_recipes(keys, change, words):
    with pytest.raises(ValueError, match=words):
        refuse_sizes(from_flat(keys | {"terms": {}} | change))
    refuse_sizes(from_flat(keys | {"px_range": (8, 64), "faces_per_person": 4}))


def losses_and_gradients() -> dict[str, torch.Tensor]:
    """One step on this rank's images: two additional sizes, every multi-size term, a margin per image."""
    student, head, batch = small_student(), small_head(), Batch(labels=(0, 6, 3, 3, 1, 3, 2, 1))
    # No recipe sets both at once.
    sizes = SimpleNamespace(px_range=(8, 64), margin_small=0.1, identity_also=True)
    network = in_ddp(student)
    sizes_XD = network(torch.cat([batch.x, batch.x.flip(1), 0.5 * batch.x.roll(1, 1)]))
    inputs = build_loss_inputs(sizes_XD, batch, head)
    identity = identity_loss(head, inputs, sizes, 0)
    objective = Objective({"siamese": Siamese()}, LossDims(WIDTH, also=2))
    out = objective(inputs, identity)
    pair = replace(inputs, also_PBD=inputs.also_PBD[:1])
    out["octuplet"] = Objective({"octuplet": Octuplet()}, LossDims(WIDTH, also=1))(pair, identity)["octuplet"]
    (out["loss"] + out["octuplet"]).backward()
    return losses_and_gradients_of(student, objective, out)


def test_two_ranks_equal_one(tmp_path):
    with float64():
        whole = losses_and_gradients()
    for part in on_ranks(losses_and_gradients, tmp_path):
        assert_equal_up_to_order(part, whole)
    assert all(value.abs().sum() > 0 for value in whole.values())
