"""Keys without an effect are named at the start of a run and by the doctor; no recipe of the repository has one."""

from pathlib import Path

import pytest

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat, load
from aird_plugin.diagnostics.ignored_keys import ignored_keys
from aird_plugin.training.loop import train
from aird_plugin.utils import devices
from tests.runs import write_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
IID, RID = ({"terms": {name: f"aird_plugin.losses.{spec}"}} for name, spec in (("iid", "instance:IID"), ("rid", "relation:RID")))
NEEDS_CHECKOUT = "only a run inside arcface_torch reads such keys; add --arcface-torch DIR"


def warnings(keys: dict, arcface_torch: bool = False, device_type: str = "cpu") -> list[str]:
    recipe = from_flat({"rec": "faces", "output": "run"} | keys)
    return [str(one).removeprefix("WARNING ") for one in ignored_keys(recipe, device_type, arcface_torch)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"upstream": {"dali": True}}, "upstream={'dali': True} has no effect here: " + NEEDS_CHECKOUT),
        ({"reader": "upstream"}, "reader='upstream' has no effect here: " + NEEDS_CHECKOUT),
        (
            {"keep_mxnet": True, "gradient_compression": False, "save_all_states": True},
            "keep_mxnet=True, gradient_compression=False, save_all_states=True have no effect here: " + NEEDS_CHECKOUT,
        ),
        ({"fp16": True}, "fp16=True has no effect on a CPU: the run is in float32; bf16=True works on CPUs with AVX-512 too"),
        (
            {"num_epoch": 28},
            "milestones 28, 32 are never reached in num_epoch=28: the learning rate does not fall there; give milestones below "
            "num_epoch, or schedule='cosine'",
        ),
        (
            {"schedule": "cosine", "warmup_epoch": 5, "num_epoch": 5},
            "warmup_epoch=5 covers all of num_epoch=5: the learning rate only rises, and reaches lr=0.05 at the end or never; "
            "give fewer epochs of warm-up",
        ),
        ({"schedule": "poly", "milestones": (5,)}, "milestones=(5,) has no effect with schedule='poly': set schedule='step'"),
        ({"schedule": "cosine", "decay": 0.5}, "decay=0.5 has no effect with schedule='cosine': set schedule='step'"),
        ({"optimizer": "adamw", "momentum": 0.5}, "momentum=0.5 has no effect with optimizer='adamw'"),
        ({"keep": 0.5}, "keep=0.5 has no effect without facebn: set a mode: facebn='stateless'"),
        ({"include_bn1d": True}, "include_bn1d=True has no effect without facebn: set a mode: facebn='stateless'"),
        (IID | {"iid_beta": 4.0}, "iid_beta=4.0 has no effect with iid_variant='kl'"),
        (
            IID | {"iid_warmup_epochs": 35.0},
            "iid_warmup_epochs=35 covers all of num_epoch=35: the weight only rises, and never reaches iid_weight=1; give fewer "
            "epochs of warm-up",
        ),
        (RID | {"rid_contrast": "mutual", "rid_noise_cap": 0.5}, "rid_noise_cap=0.5 has no effect with rid_contrast='mutual'"),
        (RID | {"rid_relation": "difference", "rid_width": 64}, "rid_width=64 has no effect with rid_relation='difference'"),
        (RID | {"rid_anchors": "batch", "rid_negatives": 64}, "rid_negatives=64 has no effect with rid_anchors='batch'"),
        (RID | {"rid_contrast": "literal", "rid_negatives": 64}, "rid_negatives=64 has no effect with rid_contrast='literal'"),
        ({"wandb_key": "a b", "notes": "n"}, "wandb_key, notes have no effect without wandb: set using_wandb=True"),
        (
            {"using_wandb": True, "wandb_log_all": True},
            "wandb_log_all=True has no effect in the embedded loop: its lines are means over the ranks, and rank 0 "
            "logs them once",
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_key_without_effect_is_named(keys, expected):
    assert warnings(keys) == [expected]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"rank_timeout": 60.0},
            "rank_timeout=60 has no effect inside arcface_torch: its loop waits for ranks as long as PyTorch's default; train "
            "without --arcface-torch",
        ),
        (
            {"reader": "upstream", "save_steps": 50},
            "save_steps=50 has no effect with reader='upstream': it resumes at whole epochs, and a checkpoint is written after "
            "each; set reader='bank'",
        ),
        (
            {"reader": "upstream", "views": 8},
            "views=8 has no effect on the batches of reader='upstream': arcface_torch's own reader mirrors images at random and "
            "no more; set reader='bank'",
        ),
        (
            {"reader": "upstream", "mixup": 0.5},
            "mixup=0.5 has no effect on the batches of reader='upstream': arcface_torch's own reader mirrors images at random "
            "and no more; set reader='bank'",
        ),
    ],
    ids=["rank_timeout", "save_steps", "views", "mixup"],
)
def test_a_key_without_effect_inside_arcface_torch_is_named(keys, expected):
    assert warnings(keys, arcface_torch=True) == [expected]


def test_keys_with_an_effect_are_not_named():
    assert warnings({"reader": "upstream", "upstream": {"dali": True}}, arcface_torch=True) == []
    assert warnings({"save_steps": 50, "views": 8, "compile": True}, arcface_torch=True) == []
    assert warnings({"fp16": True}, device_type="cuda") == []
    assert warnings({"keep": 0.5, "facebn": "full", "warmup_epoch": 34.5}) == []
    assert warnings(IID | {"iid_variant": "dkd", "iid_beta": 4.0, "iid_warmup_epochs": 34.0}) == []
    assert warnings(IID | {"iid_beta": 4.0, "iid_weight": 0.0}) == []
    assert warnings(RID | {"rid_noise_cap": 0.5, "rid_width": 64, "rid_negatives": 64, "rid_lone_faces": "skip"}) == []
    assert warnings({"schedule": "cosine", "num_epoch": 2}) == [], "default milestones are not reported"


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.py")), ids=lambda path: path.stem)
def test_no_recipe_has_a_key_without_effect(path):
    recipe = load(path)
    found = [*ignored_keys(recipe, "cpu"), *ignored_keys(recipe, "cpu", arcface_torch=True)]
    assert not [one for one in found if one.status != "note"]


def test_bf16_is_noted_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: False)
    (note,) = warnings({"bf16": True})
    assert note.startswith("note    bf16=True has no effect on this CPU") and "the run is in float32" in note
    assert warnings({"bf16": True}, device_type="cuda") == []
    monkeypatch.setattr(devices, "cpu_has_bf16", lambda: True)
    assert warnings({"bf16": True}) == []


def test_run_and_doctor_print_them(tiny_run, tmp_path, capsys):
    keys = tiny_run | {"output": str(tmp_path / "run"), "num_epoch": 1, "warmup_epoch": 2}
    train(from_flat(keys))
    line = "WARNING warmup_epoch=2 covers all of num_epoch=1"
    assert capsys.readouterr().err.count(line) == 1
    recipe = write_recipe(tmp_path / "recipe.py", keys)
    assert main(["doctor", str(recipe), "reader=upstream"]) == 0
    text = capsys.readouterr().out
    assert line in text and "WARNING reader='upstream' has no effect here" in text
