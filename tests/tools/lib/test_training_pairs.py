"""The rows of bench_training.py name recipes, keys, teachers and bounds that exist."""

from pathlib import Path

import pytest

from aird_plugin.config.recipe import load
from aird_plugin.config.recipe_file import recipe_path
from tools.lib import ratios
from tools.lib.training_pairs import TEACHERS, pairs

RECIPES = Path(__file__).parents[3] / "recipes"


def test_rows_of_each_device():
    assert "aird-r18" in pairs("cuda") and "aird-r18" not in pairs("cpu")
    assert pairs("cpu").items() <= pairs("cuda").items()


@pytest.mark.parametrize("name", pairs("cuda"))
def test_both_sides_of_a_row_load(name):
    pair = pairs("cuda")[name]
    assert pair.teacher in TEACHERS and pair.bound in (ratios.AT_MOST, ratios.AT_LEAST)
    for recipe, keys in (pair.over, pair.under):
        load(recipe_path(RECIPES, recipe), [*pair.both, *keys])
