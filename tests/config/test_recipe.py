import dataclasses
import json
import math

import pytest

from aird_plugin.config.recipe import from_flat, load, parse_override
from aird_plugin.config.recipe_file import base, read_config

MINIMAL = {"rec": "faces", "output": "out"}
TERMS = {"iid": "aird_plugin.losses.instance:IID", "rid": "aird_plugin.losses.relation:RID"}


def write(folder, name, text):
    path = folder / f"{name}.py"
    path.write_text("from easydict import EasyDict as edict\nfrom aird_plugin.recipe import base\n" + text)
    return path


def test_keys_set_their_section_fields():
    recipe = from_flat(MINIMAL | {"lr": 1, "px": 32, "terms": TERMS, "iid_scale": 8, "rid_negatives": 7, "milestones": [1, 2]})
    assert recipe.schedule.lr == 1.0 and recipe.data.px == 32 and recipe.schedule.milestones == (1, 2)
    assert recipe.terms["iid"].scale == 8.0 and recipe.terms["rid"].negatives == 7


def test_teacher_keys_round_trip_through_json():
    keys = {"teacher": ["a.onnx", "b.pt"], "teacher_input": [{"color": "bgr", "mean": (104, 117, 123), "std": 1}, None]}
    recipe = from_flat(MINIMAL | keys | {"teacher_join": "concat"})
    assert recipe.teacher.paths == ("a.onnx", "b.pt") and from_flat(MINIMAL).teacher.paths == ()
    again = json.loads(json.dumps(recipe.flat()))
    assert json.loads(json.dumps(from_flat(again).flat())) == again


def test_recipe_is_frozen():
    recipe = from_flat(MINIMAL)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.schedule.lr = 3.0


def test_flat_holds_every_key_and_round_trips():
    recipe = from_flat(MINIMAL | {"terms": TERMS, "iid_scale": 8.0})
    flat = recipe.flat()
    assert flat["iid_scale"] == 8.0 and flat["rid_contrast"] == "nce" and flat["terms"] == TERMS
    assert from_flat(flat) == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"margin_lst": 1}, "no key 'margin_lst'; the nearest is 'margin_list'"),
        ({"iid_weight": 1.0}, "no key 'iid_weight'"),
        ({"lr": "fast"}, "lr is a float; got 'fast' (str)"),
        ({"lr": -1.0}, "lr must be above 0; got -1.0"),
        ({"px": 113}, "4 to 112; got 113"),
        ({"px": True}, "px is a int; got True (bool)"),
        ({"batch_size": 0}, "batch_size must be 1 or more; got 0"),
        ({"views": 3}, "even and at least 2; got 3"),
        ({"schedule": "linear"}, "step, poly, cosine; got 'linear'"),
        ({"margin_list": (1, 2)}, "three numbers"),
        ({"sample_rate": 0.0}, "above 0 and at most 1; got 0.0"),
        ({"fp16": True, "bf16": True}, "exclude each other"),
        ({"teacher_input": {"colour": "bgr"}}, "teacher_input has no key 'colour'"),
        ({"teacher_input": "bgr"}, "teacher_input is a dict or tuple or None"),
        ({"teacher": ("a", "b"), "teacher_input": ({"color": "bgr"},)}, "teacher_input is a tuple of 1 for 2 teacher"),
        ({"teacher": "a", "teacher_input": ({"color": "bgr"},)}, "teacher_input is a tuple of 1 for 1 teacher"),
        ({"teacher": ("a", 1)}, "teacher is a path, or a tuple of paths; got 1"),
        ({"teacher_join": "sum"}, "teacher_join is one of mean, concat; got 'sum'"),
        ({"terms": 0}, "terms is a dict; got 0 (int)"),
        ({"terms": {1: TERMS["iid"]}}, "1 cannot name a term"),
        ({"terms": {"x": ".nowhere:Spec"}}, "config.terms['x']: "),
        ({"lr": 10**400}, "lr is a float; got 1000"),
        ({"terms": {"x": "nowhere:Spec"}}, "No module named 'nowhere'"),
        ({"terms": {"x": "aird_plugin.config.recipe:Recipe"}}, "no term spec"),
        ({"terms": {"margin": "aird_plugin.losses.rkd:RKD"}}, "'margin' cannot name a term"),
        ({"terms": {"prior": TERMS["iid"]}, "prior_timestep": 10}, "'prior' cannot name a term"),
        ({"terms": {"loss": TERMS["iid"]}}, "'loss' cannot name a term"),
        ({"terms": {"epoch": TERMS["iid"]}}, "'epoch' cannot name a term"),
        ({"terms": {"keys": TERMS["iid"]}}, "'keys' cannot name a term"),
        ({"terms": {"a.b": TERMS["iid"]}}, "'a.b' cannot name a term"),
        ({"terms": {"iid": TERMS["iid"]}, "iid_scale": -2.0}, "iid_scale must be above 0; got -2.0"),
        ({"output": ""}, "output names the run folder"),
        ({"val_protocols": ("lr-xr",)}, "got 'lr-xr'"),
    ],
)
def test_invalid_recipe_error_names_the_value_and_what_is_allowed(change, words):
    with pytest.raises(ValueError) as error:
        from_flat(MINIMAL | change)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("lr=0.1", ("lr", 0.1)),
        ("teacher=None", ("teacher", None)),
        ("fp16=False", ("fp16", False)),
        ("rec=a/b.rec", ("rec", "a/b.rec")),
        ("terms={}", ("terms", {})),
        ("margin_list=(1,0,.4)", ("margin_list", (1, 0, 0.4))),
        ("rec={[]:1}", ("rec", "{[]:1}")),
        (f"rec={'-' * 99_999}1", ("rec", "-" * 99_999 + "1")),
    ],
)
def test_overrides_are_python_literals(text, pair):
    assert parse_override(text) == pair


@pytest.mark.parametrize("text", ["lr", "=3", "a b=1", "--lr=1"])
def test_malformed_override_is_rejected(text):
    with pytest.raises(ValueError, match="not key=value"):
        parse_override(text)


def test_override_runs_no_code():
    assert parse_override("output=__import__('os').getcwd()") == ("output", "__import__('os').getcwd()")


def test_variant_recipe_leaves_its_base_unchanged(tmp_path):
    write(tmp_path, "one", "config = edict(rec='faces', output='one', lr=0.5)")
    two = write(tmp_path, "two", "config = base(__file__, 'one')\nconfig.output = 'two'")
    assert load(two, ["lr=0.25"]).schedule.lr == 0.25
    assert read_config(tmp_path / "one.py").output == "one"
    assert base(str(two), "one").lr == 0.5


def test_missing_recipe_error_names_the_nearest(tmp_path):
    write(tmp_path, "quickstart", "config = edict()")
    with pytest.raises(ValueError, match="did you mean .*quickstart.py"):
        load(tmp_path / "quikstart.py")


@pytest.mark.parametrize("text", ["config = 3", "", "config = edict(", "config = base(__file__, 'none')", "config = undefined"])
def test_broken_recipe_is_a_single_error(tmp_path, text):
    with pytest.raises(ValueError, match="recipe"):
        load(write(tmp_path, "broken", text))


def test_nan_learning_rate_is_rejected():
    with pytest.raises(ValueError, match="lr must be above 0; got nan"):
        from_flat(MINIMAL | {"lr": math.nan})
