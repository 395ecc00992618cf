import dataclasses
import importlib
import json
import math
from pathlib import Path

import pytest

from aird_plugin import losses
from aird_plugin.config.recipe import SECTIONS, from_flat, load, parse_override
from aird_plugin.config.recipe_file import base, read_config
from aird_plugin.losses.margin import Combined
from aird_plugin.losses.rpcl import RivalMarginConfig
from aird_plugin.losses.term import MarginConfig, TermConfig

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


def test_mixture_of_degradations_round_trips_through_json():
    key, mixture = parse_override("degradation={'realworld': 2, 'bicubic': 0.5}")
    recipe = from_flat(MINIMAL | {key: mixture, "px_range": (8, 64), "untouched": 0.1})
    assert recipe.data.degradation == mixture and from_flat(json.loads(json.dumps(recipe.flat()))) == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"margin_lst": 1}, "no key 'margin_lst'; the nearest is 'margin_list'"),
        ({"iid_weight": 1.0}, "drop_terms(config, NAME) removes a term from a recipe with its keys"),
        (
            {"dali": True},
            "'dali' is a key of arcface_torch, not of a recipe: give it in config.upstream, such as upstream={'dali': ",
        ),
        ({"interclass_filtering_threshold": 0}, "give it in config.upstream"),
        ({"val_targets": ""}, "val_targets are paths of .bin files, or () for no verification; got ''"),
        ({"student_input": {"std": 0.5}, "network": "onnx"}, "student_input: std is in grey levels"),
        ({"student_input": {"colour": "bgr"}, "network": "onnx"}, "student_input has no key 'colour'"),
        ({"lr": "fast"}, "lr is a float; got 'fast' (str)"),
        ({"lr": -1.0}, "lr must be above 0; got -1.0"),
        ({"px": 113}, "4 to 112; got 113"),
        ({"px": True}, "px is a int; got True (bool)"),
        ({"degradation": ["blur"]}, "degradation is a str or dict; got ['blur'] (list)"),
        ({"degradation": {"fog": 1}}, "degradation is a mixture of bicubic, insightface-warp"),
        ({"untouched": 0.5}, "set px_range"),
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
        ({"margin_list": (1.0, 5.0, 0.0)}, "0 to pi - m1 * pi / 2 (1.5708 for m1 = 1), m3 from 0 to 1; got (1.0, 5.0, 0.0)"),
        ({"margin_list": (4.0, 0.0, 0.0)}, "must fall up to 90 degrees"),
        ({"margin_list": (0.5, 0.0, 0.0)}, "be 0 or less there"),
        ({"margin_list": (1.0, -0.5, 0.0)}, "got (1.0, -0.5, 0.0)"),
        ({"margin_list": (1.0, 0.5, 35.0)}, "got (1.0, 0.5, 35.0)"),
        ({"margin_list": (1.0, math.nan, 0.0)}, "got (1.0, nan, 0.0)"),
        ({"margin_list": (True, 0.5, 0.0)}, "three numbers"),
        ({"px_range": (8, 64), "margin_small": 28.6}, "margin_small must be an angle in radians, 0 to pi / 2 = 1.5708; got 28.6"),
        ({"decay": 10.0}, "decay multiplies the learning rate, above 0 and at most 1; got 10.0"),
        ({"decay": -0.1}, "above 0 and at most 1; got -0.1"),
        ({"milestones": ("21",)}, "milestones are epochs, numbers from 0; got '21'"),
        ({"milestones": (-1,)}, "milestones are epochs, numbers from 0; got -1"),
        ({"identity_weight": math.nan}, "identity_weight must be 0 or more; got nan"),
        ({"seed": 2**32}, "seed must be from 0 to 4294967295; got 4294967296"),
        ({"rank_timeout": 1e20}, "rank_timeout is in seconds, above 0, at most 315,360,000; got 1e+20"),
        ({"view_seed": -1}, "view_seed must be 0 or more; got -1"),
        ({"bank": ""}, "bank names the folder of the bank"),
        ({"terms": {"iid": TERMS["iid"]}, "iid_weight": -1.0}, "iid_weight must be 0 or more; got -1.0"),
        ({"terms": {"iid": TERMS["iid"]}, "iid_warmup_epochs": -1.0}, "iid_warmup_epochs must be 0 or more; got -1.0"),
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


def test_a_dropped_term_takes_no_key_of_others_along(tmp_path):
    """Keys of a term whose name begins with the dropped one's, and of a section."""
    cosine = "aird_plugin.losses.cosine:CosineRegression"
    lines = [
        "from aird_plugin.recipe import drop_terms",
        f"terms = {{'embedding': {cosine!r}, 'embedding_2': {cosine!r}}}",
        "config = edict(rec='faces', output='out', terms=terms, embedding_size=64, embedding_weight=3.0, embedding_2_weight=7.0)",
        "drop_terms(config, 'embedding')",
    ]
    recipe = load(write(tmp_path, "ablation", "\n".join(lines)))
    assert list(recipe.terms) == ["embedding_2"] and recipe.terms["embedding_2"].weight == 7.0
    assert recipe.student.embedding_size == 64


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


def specs():
    """Each term and margin of the package: (prefix of its keys, recipe keys that name it, its class)."""
    for file in sorted(Path(losses.__file__).parent.glob("*.py")):
        module = importlib.import_module(f"{losses.__name__}.{file.stem}")
        for name, kind in vars(module).items():
            own = isinstance(kind, type) and kind.__module__ == module.__name__ and issubclass(kind, TermConfig | MarginConfig)
            if own and kind not in (TermConfig, MarginConfig, RivalMarginConfig, Combined):
                place = f"{module.__name__}:{name}"
                yield (
                    ("x", {"terms": {"x": place}}, kind) if issubclass(kind, TermConfig) else ("margin", {"margin": place}, kind)
                )


def float_keys():
    """Every key that takes a float: (key, a recipe with what it belongs to)."""
    for section in SECTIONS.values():
        yield from ((field.name, MINIMAL) for field in dataclasses.fields(section) if "float" in str(field.type))
    for prefix, keys, kind in specs():
        fields = (field for field in dataclasses.fields(kind) if "float" in str(field.type))
        yield from ((f"{prefix}_{field.name}", MINIMAL | keys) for field in fields)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_float_key_takes_nan_or_infinity(value):
    """Also no key of a term or margin."""
    keys = list(float_keys())
    assert len(keys) > 80 and {"lr", "margin_scale", "rank_timeout"} <= {key for key, _ in keys}
    taken = []
    for key, recipe in keys:
        try:
            from_flat(recipe | {key: value})
            taken.append((key, recipe))
        except ValueError as error:
            assert key.removeprefix("x_").removeprefix("margin_") in str(error)
    assert taken == []


def test_nan_within_a_tuple_is_rejected():
    for key in ("margin_list", "milestones"):
        with pytest.raises(ValueError, match=key):
            from_flat(MINIMAL | {key: (1.0, 0.5, math.nan)})


@pytest.mark.parametrize(
    "value", [(1.0, 0.5, 0.0), (1.0, 0.0, 0.4), (1.0, 0.0, 0.0), (1.35, 0.0, 0.0), (0.9, 0.4, 0.15), (1, 1.5707963, 0), (2, 0, 0)]
)
def test_published_margins_are_accepted(value):
    """ArcFace, CosFace, none, SphereFace, ArcFace's CM2, and the limits."""
    assert from_flat(MINIMAL | {"margin_list": value}).head.margin_list == value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"terms": {"x": "aird_plugin.losses.rkd:RKD"}, "x_distance": 0.0, "x_angle": 0.0}, "distance and angle are both 0"),
        ({"terms": {"x": TERMS["iid"]}, "x_variant": "dkd", "x_alpha": 0.0, "x_beta": 0.0}, "alpha and beta are both 0"),
        ({"margin": "aird_plugin.losses.adaface:AdaFace", "margin_m": 28.6}, "margin_m must be an angle in radians"),
        (
            {"margin": "aird_plugin.losses.magface:MagFace", "margin_u_margin": 45.0},
            "margin_u_margin must be an angle in radians",
        ),
        ({"margin": "aird_plugin.losses.ccface:AdaptiveMargin", "margin_m": 5.0}, "margin_m must be an angle in radians"),
        ({"margin": "aird_plugin.losses.rpcl:Arc", "margin_rival_m": 5.0}, "margin_rival_m must be an angle in radians"),
        ({"margin": "aird_plugin.losses.rpcl:Cos", "margin_m": 5.0}, "margin_m must be from 0 to 1; got 5.0"),
    ],
)
def test_term_or_margin_without_effect_is_rejected(change, words):
    with pytest.raises(ValueError) as error:
        from_flat(MINIMAL | change)
    assert words in str(error.value)


def test_single_value_passes_for_a_tuple():
    """`val_targets=lfw.bin` on the command line; the teacher stays a text, as one of several teachers is a tuple."""
    recipe = from_flat(MINIMAL | dict(parse_override(text) for text in ("val_targets=lfw.bin", "milestones=3", "also_px=8")))
    assert recipe.run.val_targets == ("lfw.bin",) and recipe.schedule.milestones == (3,) and recipe.sizes.also_px == (8,)
    assert from_flat(MINIMAL | {"teacher": "a.onnx"}).teacher.teacher == "a.onnx"
    with pytest.raises(ValueError, match=r"margin_list must be three numbers \(m1, m2, m3\); got \(0.5,\)"):
        from_flat(MINIMAL | {"margin_list": 0.5})


def test_override_removes_the_keys_of_replaced_terms_and_margins(tmp_path):
    """`terms={}`, the help's example, on a recipe that has keys of its terms."""
    keys = f"config = edict(rec='faces', output='out', terms={TERMS}, iid_scale=8.0, rid_negatives=7"
    path = write(tmp_path, "with_terms", f"{keys}, margin='aird_plugin.losses.adaface:AdaFace', margin_m=0.3, margin_scale=32.0)")
    assert load(path, ["terms={}"]).terms == {}
    assert load(path, ["terms={'iid': 'aird_plugin.losses.instance:IID'}"]).terms["iid"].scale == 8.0
    other = load(path, ["terms={'iid': 'aird_plugin.losses.rkd:RKD'}", "iid_distance=3.0"]).terms
    assert list(other) == ["iid"] and other["iid"].distance == 3.0
    plain = load(path, ["margin=None"])
    assert plain.margin is None and plain.head.margin_scale == 32.0
    assert load(path, ["margin=aird_plugin.losses.ccface:AdaptiveMargin"]).margin.m == 0.5, "its own default, not AdaFace's 0.3"
    assert load(path, ["margin=aird_plugin.losses.adaface:AdaFace"]).margin.m == 0.3
    with pytest.raises(ValueError, match="no key 'iid_scale'"):
        load(path, ["terms={}", "iid_scale=2.0"])
