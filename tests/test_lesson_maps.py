"""Runs whose terms look at intermediate maps: they learn, go on, and say what they cannot do."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aird_plugin.assemble import assemble
from aird_plugin.loop import compute_loss, take_step, train
from aird_plugin.models.maps import stages_of
from aird_plugin.objective import Sizes
from aird_plugin.recipe import from_flat, load

TERMS = {
    "at": "aird_plugin.losses.attention:Attention",
    "fitnet": "aird_plugin.losses.fitnet:FitNet",
    "askd": "aird_plugin.losses.askd:AttentionSimilarity",
    "fskd": "aird_plugin.losses.fskd:FeatureSimilarity",
}


@pytest.fixture
def keys(tiny_run, tmp_path) -> dict:
    """The tiny run with all four terms and nothing else of the teacher's."""
    rest = {key: value for key, value in tiny_run.items() if key != "rid_negatives"}
    return rest | {"terms": TERMS, "online": True, "output": str(tmp_path / "run"), "frequent": 1}


def test_a_run_learns_and_goes_on_from_its_checkpoint(keys, tmp_path):
    folder = train(from_flat(keys))
    told = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(told) == 18 and set(TERMS) < set(told[0])
    for name in TERMS:
        assert told[-1][name] < told[0][name], name
    newest = max((folder / "checkpoints").iterdir())
    saved = torch.load(newest / "shared.pt", weights_only=True)["objective"]
    assert any(name.startswith("terms.fitnet.adapters") for name in saved)
    older = min((folder / "checkpoints").iterdir())
    assert older != newest
    other = tmp_path / "again" / "checkpoints"
    other.mkdir(parents=True)
    older.rename(other / older.name)
    again = train(from_flat(keys | {"output": str(tmp_path / "again")}))
    whole, resumed = (torch.load(place / "model.pt", weights_only=True) for place in (folder, again))
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def test_of_several_sizes_the_main_ones_maps_are_compared(keys, monkeypatch):
    siamese = {"siamese": "aird_plugin.losses.siamese:Siamese"}
    training, seen = assemble(from_flat(keys | {"also_px": (8, 12), "terms": TERMS | siamese})), []
    last, forward = [], training.objective.forward
    stages_of(training.student)[-1].register_forward_hook(lambda *args: last.append(args[2]))
    monkeypatch.setattr(training.objective, "forward", lambda views, identity: seen.append(views) or forward(views, identity))
    out = compute_loss(training, training.source[0], 0, 1)
    assert len(last[0]) == 24 and torch.equal(seen[0].student_maps[-1], last[0][:8])
    assert all(torch.isfinite(value) for value in out.values())


def test_views_pair_the_maps_and_no_hook_stays(keys, monkeypatch):
    training, seen = assemble(from_flat(keys)), []
    forward = training.objective.forward
    monkeypatch.setattr(training.objective, "forward", lambda views, identity: seen.append(views) or forward(views, identity))
    compute_loss(training, training.source[0], 0, 1)
    (views,) = seen
    assert [tuple(m.shape[2:]) for m in views.student_maps] == [(16, 16), (8, 8), (4, 4)]
    assert [m.shape[2:] for m in views.teacher_maps] == [m.shape[2:] for m in views.student_maps]
    assert all(m.requires_grad for m in views.student_maps) and not any(m.requires_grad for m in views.teacher_maps)
    torch.testing.assert_close(views.teacher_BD.norm(dim=1), torch.ones(8))
    assert not any(stage._forward_hooks for stage in stages_of(training.student))


def test_the_gradient_of_a_term_on_maps_reaches_the_student_below_them(keys):
    training = assemble(from_flat(keys | {"terms": {"at": TERMS["at"]}, "identity_weight": 0.0}))
    take_step(training, [training.source[0]], 0)
    grads = {name: p.grad for name, p in training.student.named_parameters() if p.requires_grad}
    assert grads["stages.0.0.0.weight"].abs().sum() > 0
    assert grads["fc.weight"].abs().sum() == 0, "nothing asks for the embedding"


def test_half_precision_ends_before_the_terms(keys):
    """bfloat16 maps on the CPU come to the terms in float32, and the loss is that of the whole precision within 3%."""
    whole, half = (assemble(from_flat(keys | {"bf16": bf16})) for bf16 in (False, True))
    seen = []
    half.objective.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    one, other = (compute_loss(training, training.source[0], 0, 1) for training in (whole, half))
    assert all(m.dtype == torch.float32 for m in (*seen[0].student_maps, *seen[0].teacher_maps))
    for name in TERMS:
        assert other[name].item() == pytest.approx(one[name].item(), rel=0.03), name


def test_accumulated_batches_have_maps_of_their_own(keys):
    training = assemble(from_flat(keys | {"batch_size": 4, "gradient_acc": 2}))
    out = take_step(training, [training.source[0], training.source[1]], 0)
    assert all(torch.isfinite(value) for value in out.values()) and set(TERMS) < set(out)


def test_without_such_terms_nothing_is_recorded(tiny_run, tmp_path):
    training = assemble(from_flat(tiny_run | {"output": str(tmp_path), "online": True}))
    assert training.maps is None
    with training.recorded() as maps:
        assert tuple(maps) == ()
    assert training.ask_teacher(training.source[0]).teacher_maps == ()


def test_sizes_know_the_channels_only_where_they_are_asked_for(keys, tiny_run):
    training = assemble(from_flat(keys))
    shapes = [tuple(p.shape[:2]) for name, p in training.objective.named_parameters() if ".fitnet." in name and p.ndim == 4]
    assert shapes == list(zip(training.maps.teacher_channels, training.maps.student_channels, strict=True))
    assert Sizes(8).student_channels == Sizes(8).teacher_channels == ()


@pytest.mark.parametrize(("change", "words"), [
    ({"online": False}, "at, fitnet, askd, fskd: the bank keeps no intermediate maps; set online=True"),
    ({"compile": True}, "a compiled student does not give its intermediate maps; set compile=False"),
    ({"freeze": "trunk"}, "freeze='trunk' leaves nothing of the maps to be taught; set freeze=None"),
    ({"teacher": None, "teacher_network": None, "embedding_size": 8}, "needs a teacher"),
])  # fmt: skip
def test_what_does_not_fit_is_told_before_training(keys, change, words):
    with pytest.raises(ValueError, match=words):
        assemble(from_flat(keys | change))


def test_an_onnx_teacher_is_told_before_training(keys, monkeypatch):
    from aird_plugin import lesson

    load = lesson.load_teacher

    def as_onnx(*args):
        teacher = load(*args)
        teacher.kind = "onnx"
        return teacher

    monkeypatch.setattr(lesson, "load_teacher", as_onnx)
    with pytest.raises(ValueError, match="ONNX graph and gives embeddings alone.*set teacher=FILE.pt"):
        assemble(from_flat(keys))


def test_a_weight_of_zero_asks_for_nothing(keys):
    zero = {f"{name}_weight": 0.0 for name in TERMS}
    training = assemble(from_flat(keys | zero | {"online": False}))
    assert training.maps is None and not list(training.objective.parameters())


def test_a_batch_that_has_maps_is_not_asked_about_again(keys, monkeypatch):
    training = assemble(from_flat(keys))
    batch = training.ask_teacher(training.source[0])
    monkeypatch.setattr(training, "maps", lambda faces: pytest.fail("asked twice"))
    assert training.ask_teacher(batch) is batch
    assert replace(batch).to(torch.device("cpu")).teacher_maps is batch.teacher_maps


@pytest.mark.parametrize(("name", "weight"), [("at", 1000), ("fitnet", 1.5), ("askd", 80), ("fskd", 20)])
def test_recipes_of_such_methods_have_the_weights_tuned_on_faces(name, weight):
    """F-SKD's face grid; its own two weights are 20 and 4."""
    recipes = Path(__file__).parents[1] / "recipes"
    recipe, sibling = (load(recipes / f"faces15k_small_lr16_{which}.py") for which in (name, "cls"))
    assert list(recipe.terms) == [name] and recipe.terms[name].weight == weight and recipe.bank.online
    assert name != "fskd" or recipe.terms[name].cross * weight == pytest.approx(4)
    assert (recipe.head, recipe.schedule, recipe.student) == (sibling.head, sibling.schedule, sibling.student)
    assert recipe.run.identity_weight == 1 and recipe.teacher.teacher.endswith("mobilefacenet_casia.pt")
