"""Every recipe in the repository loads, and says what the papers say."""

from pathlib import Path

import pytest

from aird_plugin.recipe import load

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.py")), ids=lambda path: path.stem)
def test_a_recipe_loads_and_writes_into_its_own_folder(path):
    recipe = load(path)
    assert recipe.run.output == f"runs/{path.stem}"
    needs_teacher = recipe.terms or recipe.head.head_init == "teacher"
    assert (recipe.teacher.teacher is not None) >= bool(needs_teacher)


@pytest.mark.parametrize("px", [16, 32, 64])
def test_the_papers_recipe(px):
    """AIRD, section IV-A and equation 7."""
    recipe = load(RECIPES / f"aird_r18_lr{px}.py")
    assert recipe.data.px == px and recipe.student.network == "r18"
    assert recipe.schedule.batch_size == 96 and recipe.schedule.lr == 0.05 and recipe.schedule.milestones == (21, 28, 32)
    assert recipe.schedule.num_epoch == 35 and recipe.schedule.decay == 0.1
    assert recipe.run.facebn == "stateless" and recipe.run.keep == 0.1
    assert recipe.terms["iid"].weight == 1 and recipe.terms["rid"].weight == 2 and recipe.run.identity_weight == 1


@pytest.mark.parametrize("family", ["aird_r18_lr16", "faces15k_small_lr16"])
def test_ablations_differ_from_their_base_in_what_their_name_says(family):
    def terms(name):
        return set(load(RECIPES / f"{family}{name}.py").terms)

    assert [terms(n) for n in ("", "_scratch", "_cls", "_iid", "_rid", "_align", "_cosine")] == [
        {"iid", "rid"}, set(), set(), {"iid"}, {"rid"}, {"iid", "rid", "align"}, {"align"}
    ]  # fmt: skip
    assert load(RECIPES / f"{family}_scratch.py").teacher.teacher is None


def test_agedb30_is_asked_as_the_paper_asks():
    """AIRD, table III: 16 px, both protocols, FaceBN with the printed weight, on the one file."""
    recipe = load(RECIPES / "agedb30_lr16.py")
    assert [Path(target).name for target in recipe.run.val_targets] == ["agedb_30.bin"]
    assert recipe.data.px == 16 and recipe.run.val_protocols == ("lr-lr", "lr-hr")
    assert recipe.run.facebn == "stateless" and recipe.run.keep == 0.1
