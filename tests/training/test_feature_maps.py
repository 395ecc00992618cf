"""Runs whose terms use intermediate feature maps: they learn, resume, and reject recipes they cannot run."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aird_plugin.config.recipe import from_flat, load
from aird_plugin.models.feature_maps import stages_of
from aird_plugin.training.loop import compute_loss, take_step, train
from aird_plugin.training.objective import LossDims
from aird_plugin.training.state import build_state
from aird_plugin.utils import devices
from tests.models.onnx_files import network, write_network
from tests.runs import metrics, weights

TERMS = {
    "at": "aird_plugin.losses.at:AT",
    "fitnet": "aird_plugin.losses.fitnet:FitNet",
    "askd": "aird_plugin.losses.askd:ASKD",
    "fskd": "aird_plugin.losses.fskd:FSKD",
}


@pytest.fixture
def keys(tiny_run, tmp_path) -> dict:
    """The tiny run with the four map terms alone."""
    rest = {key: value for key, value in tiny_run.items() if key != "rid_negatives"}
    return rest | {"terms": TERMS, "online": True, "output": str(tmp_path / "run"), "frequent": 1}


def test_run_learns_and_resumes_from_its_checkpoint(keys, tmp_path):
    folder = train(from_flat(keys))
    rows = metrics(folder)
    assert len(rows) == 18 and set(TERMS) < set(rows[0])
    for name in TERMS:
        assert rows[-1][name] < rows[0][name], name
    newest = max((folder / "checkpoints").iterdir())
    saved = torch.load(newest / "shared.pt", weights_only=True)["objective"]
    assert any(name.startswith("terms.fitnet.adapters") for name in saved)
    older = min((folder / "checkpoints").iterdir())
    assert older != newest
    other = tmp_path / "again" / "checkpoints"
    other.mkdir(parents=True)
    older.rename(other / older.name)
    again = train(from_flat(keys | {"output": str(tmp_path / "again")}))
    whole, resumed = (weights(place) for place in (folder, again))
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def test_only_maps_of_the_main_size_are_compared(keys, monkeypatch):
    siamese = {"siamese": "aird_plugin.losses.siamese:Siamese"}
    state, captured = build_state(from_flat(keys | {"also_px": (8, 12), "terms": TERMS | siamese})), []
    last, forward = [], state.setup.objective.forward
    stages_of(state.setup.student)[-1].register_forward_hook(lambda *args: last.append(args[2]))
    monkeypatch.setattr(
        state.setup.objective, "forward", lambda inputs, identity: captured.append(inputs) or forward(inputs, identity)
    )
    out = compute_loss(state, state.setup.source[0], 0, 1)
    assert len(last[0]) == 24 and torch.equal(captured[0].student_maps[-1], last[0][:8])
    assert all(torch.isfinite(value) for value in out.values())


def test_inputs_pair_the_maps_and_hooks_are_removed(keys, monkeypatch):
    state, captured = build_state(from_flat(keys)), []
    forward = state.setup.objective.forward
    monkeypatch.setattr(
        state.setup.objective, "forward", lambda inputs, identity: captured.append(inputs) or forward(inputs, identity)
    )
    compute_loss(state, state.setup.source[0], 0, 1)
    (inputs,) = captured
    assert [tuple(m.shape[2:]) for m in inputs.student_maps] == [(16, 16), (8, 8), (4, 4)]
    assert [m.shape[2:] for m in inputs.teacher_maps] == [m.shape[2:] for m in inputs.student_maps]
    assert all(m.requires_grad for m in inputs.student_maps) and not any(m.requires_grad for m in inputs.teacher_maps)
    torch.testing.assert_close(inputs.teacher_BD.norm(dim=1), torch.ones(8))
    assert not any(stage._forward_hooks for stage in stages_of(state.setup.student))


def test_gradient_of_a_map_term_reaches_the_layers_below(keys):
    state = build_state(from_flat(keys | {"terms": {"at": TERMS["at"]}, "identity_weight": 0.0}))
    take_step(state, [state.setup.source[0]], 0)
    grads = {name: p.grad for name, p in state.setup.student.named_parameters() if p.requires_grad}
    assert grads["stages.0.0.0.weight"].abs().sum() > 0
    assert grads["fc.weight"].abs().sum() == 0, "no term uses the embedding"


def test_terms_get_float32_maps_under_autocast(keys, monkeypatch):
    """bfloat16 maps on the CPU are cast to float32 for the terms; the loss equals that of a float32 run within 3%."""
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    whole, half = (build_state(from_flat(keys | {"bf16": bf16})) for bf16 in (False, True))
    captured = []
    half.setup.objective.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    one, other = (compute_loss(state, state.setup.source[0], 0, 1) for state in (whole, half))
    assert all(m.dtype == torch.float32 for m in (*captured[0].student_maps, *captured[0].teacher_maps))
    for name in TERMS:
        assert other[name].item() == pytest.approx(one[name].item(), rel=0.03), name


def test_each_accumulated_batch_has_its_own_maps(keys):
    state = build_state(from_flat(keys | {"batch_size": 4, "gradient_acc": 2}))
    out = take_step(state, [state.setup.source[0], state.setup.source[1]], 0)
    assert all(torch.isfinite(value) for value in out.values()) and set(TERMS) < set(out)


def test_nothing_is_recorded_without_map_terms(tiny_run, tmp_path):
    state = build_state(from_flat(tiny_run | {"output": str(tmp_path), "online": True}))
    assert state.setup.maps is None
    with state.setup.record_feature_maps() as maps:
        assert tuple(maps) == ()
    assert state.setup.add_teacher_outputs(state.setup.source[0]).teacher_maps == ()


def test_dims_hold_channels_only_where_a_term_needs_them(keys, tiny_run):
    state = build_state(from_flat(keys))
    shapes = [tuple(p.shape[:2]) for name, p in state.setup.objective.named_parameters() if ".fitnet." in name and p.ndim == 4]
    assert shapes == list(zip(state.setup.maps.teacher_channels, state.setup.maps.student_channels, strict=True))
    assert LossDims(8).student_channels == LossDims(8).teacher_channels == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"online": False}, "at, fitnet, askd, fskd: the bank keeps no feature maps; set online=True"),
        ({"compile": True}, "a compiled student records no feature maps; set compile=False"),
        ({"freeze": "trunk"}, "freeze='trunk' leaves no layer before the maps to train; set freeze=None"),
        ({"teacher": None, "teacher_network": None, "embedding_size": 8}, "needs a teacher"),
    ],
)
def test_invalid_recipe_is_rejected_before_training(keys, change, words):
    with pytest.raises(ValueError, match=words):
        build_state(from_flat(keys | change))


def test_an_onnx_teacher_has_maps_too(keys, tmp_path):
    """Only the file of a recogniser is at hand, not its weights; a bank of its own, as for every teacher."""
    file = write_network(tmp_path / "teacher.onnx", network("mbf"))
    state = build_state(from_flat(keys | {"teacher": str(file), "teacher_network": None, "bank": str(tmp_path / "bank")}))
    out = compute_loss(state, state.setup.source[0], 0, 1)
    assert set(TERMS) < set(out) and all(torch.isfinite(value) for value in out.values())
    assert state.setup.maps.partners == [1, 2, 3]


def test_term_of_weight_zero_needs_nothing(keys):
    zero = {f"{name}_weight": 0.0 for name in TERMS}
    state = build_state(from_flat(keys | zero | {"online": False}))
    assert state.setup.maps is None and not list(state.setup.objective.parameters())


def test_batch_with_maps_does_not_run_the_teacher_again(keys, monkeypatch):
    state = build_state(from_flat(keys))
    batch = state.setup.add_teacher_outputs(state.setup.source[0])
    monkeypatch.setattr(state.setup, "maps", lambda images: pytest.fail("the teacher ran twice"))
    assert state.setup.add_teacher_outputs(batch) is batch
    assert replace(batch).to(torch.device("cpu")).teacher_maps is batch.teacher_maps


@pytest.mark.parametrize(("name", "weight"), [("at", 1000), ("fitnet", 1.5), ("askd", 80), ("fskd", 20)])
def test_recipes_use_the_weights_tuned_on_faces(name, weight):
    """Chosen from F-SKD's grid on face recognition; its own two weights are 20 and 4."""
    recipes = Path(__file__).parents[2] / "recipes"
    recipe, sibling = (load(recipes / f"faces15k_small_lr16_{which}.py") for which in (name, "cls"))
    assert list(recipe.terms) == [name] and recipe.terms[name].weight == weight and recipe.bank.online
    assert name != "fskd" or recipe.terms[name].cross * weight == pytest.approx(4)
    assert (recipe.head, recipe.schedule, recipe.student) == (sibling.head, sibling.schedule, sibling.student)
    assert recipe.run.identity_weight == 1 and recipe.teacher.teacher.endswith("mobilefacenet_casia.pt")
