"""Every recipe in the repository loads and matches its paper."""

from pathlib import Path

import pytest

from aird_plugin.config.recipe import load
from aird_plugin.config.recipe_file import recipe_path
from aird_plugin.data.degradation import DEGRADATIONS
from aird_plugin.losses.relation import RID
from tools import quickstart

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.py")), ids=lambda path: path.stem)
def test_recipe_loads_and_writes_into_its_own_folder(path):
    recipe = load(path)
    folder = "runs/quickstart" if path.parent.name == "quickstart" else "runs"
    assert recipe.run.output == f"{folder}/{path.stem}"
    needs_teacher = recipe.terms or recipe.head.head_init == "teacher"
    assert (recipe.teacher.teacher is not None) >= bool(needs_teacher)


def test_quickstart_recipes_alone_use_what_make_quickstart_wrote():
    for name in quickstart.RUNS:
        alone = load(RECIPES / "quickstart" / f"{name}.py")
        expected = dict(key.split("=", 1) for key in quickstart.path_keys(Path("runs/quickstart"), name))
        found = {"rec": alone.data.rec, "output": alone.run.output, "bank": alone.bank.bank, "teacher": alone.teacher.teacher}
        assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("px", [16, 32, 64])
def test_aird_recipe_matches_the_paper(px):
    """AIRD, section IV-A."""
    recipe = load(recipe_path(RECIPES, f"aird_r18_lr{px}"))
    assert recipe.data.px == px and recipe.student.network == "r18"
    assert recipe.schedule.batch_size == 96 and recipe.schedule.lr == 0.05 and recipe.schedule.milestones == (21, 28, 32)
    assert recipe.schedule.num_epoch == 35 and recipe.schedule.decay == 0.1
    assert recipe.run.facebn == "stateless" and recipe.run.keep == 0.1
    assert recipe.terms["iid"].weight == 1 and recipe.run.identity_weight == 1
    assert recipe.terms["rid"].contrast == "mutual" and recipe.terms["rid"].weight == 8


def test_published_form_differs_in_rid_alone():
    """AIRD, equations 2 to 4 and 7."""
    ours, published = (load(recipe_path(RECIPES, f"aird_r18_lr16{form}")) for form in ("", "_published"))
    assert published.terms["rid"] == RID(negatives=256) and published.terms["rid"].weight == 2
    assert published.terms | {"rid": ours.terms["rid"]} == ours.terms
    assert (published.data, published.head, published.schedule) == (ours.data, ours.head, ours.schedule)


@pytest.mark.parametrize("family", ["aird_r18_lr16", "faces15k_small_lr16"])
def test_ablations_have_the_terms_of_their_name(family):
    def terms(name):
        return set(load(recipe_path(RECIPES, f"{family}{name}")).terms)

    assert [terms(n) for n in ("", "_scratch", "_cls", "_iid", "_rid", "_align", "_cosine")] == [
        {"iid", "rid"},
        set(),
        set(),
        {"iid"},
        {"rid"},
        {"iid", "rid", "align"},
        {"align"},
    ]
    assert load(recipe_path(RECIPES, f"{family}_scratch")).teacher.teacher is None


def test_agedb30_recipe_matches_the_paper():
    """AIRD, table III: 16 px, both protocols, FaceBN with the printed weight, on the one file."""
    recipe = load(RECIPES / "agedb30_lr16.py")
    assert [Path(target).name for target in recipe.run.val_targets] == ["agedb_30.bin"]
    assert recipe.data.px == 16 and recipe.run.val_protocols == ("lr-lr", "lr-hr")
    assert recipe.run.facebn == "stateless" and recipe.run.keep == 0.1


@pytest.mark.parametrize("name", ["zoo_lr16", "zoo_allsizes", "zoo_allsizes_gpu"])
def test_zoo_recipes_train_the_teachers_own_file(name):
    """Teacher and training set are all that a user states; class centers stay the teacher's."""
    recipe = load(RECIPES / "zoo" / f"{name}.py", ["teacher=mine.onnx", "rec=my_faces"])
    assert recipe.student.network == "onnx" and recipe.student.student_init is None
    assert recipe.head.centers == "frozen" and recipe.head.head_init == "teacher" and recipe.run.identity_weight == 0
    assert recipe.head.num_classes == 0 and recipe.data.num_image == 0
    if name != "zoo_lr16":
        assert set(recipe.data.degradation) == set(DEGRADATIONS) and recipe.sizes.px_range == (8, 64)
        assert recipe.sizes.untouched == 1 / 8
