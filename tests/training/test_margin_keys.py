"""Recipes with another margin: its keys, and invalid combinations."""

import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.losses.magface import MagFace

MINIMAL = {"rec": "faces", "output": "out"}
MAGFACE = "aird_plugin.losses.magface:MagFace"


def test_margin_keys_coexist_with_head_keys():
    keys = {"margin": MAGFACE, "margin_l_a": 9, "margin_u_a": 14.0, "margin_scale": 32.0, "margin_list": (1, 0, 0.4)}
    recipe = from_flat(MINIMAL | keys)
    assert recipe.margin == MagFace(l_a=9.0, u_a=14.0) and recipe.head.margin_scale == 32.0
    flat = recipe.flat()
    assert flat["margin"] == MAGFACE and flat["margin_l_a"] == 9.0 and flat["margin_list"] == (1, 0, 0.4)
    assert from_flat(flat) == recipe


def test_margin_none_is_the_combined_margin():
    assert from_flat(MINIMAL).margin is None and from_flat(MINIMAL | {"margin": None}) == from_flat(MINIMAL)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"margin_l_a": 9.0}, "no key 'margin_l_a'"),
        ({"margin": MAGFACE, "margin_l_a": -9.0}, "margin_l_a and u_a are norms"),
        ({"margin": MAGFACE, "margin_l_b": 9.0}, "the nearest is 'margin_l_a'"),
        ({"margin": 3}, "config.margin is 'module:Spec'; got 3"),
        ({"margin": "nowhere:Spec"}, "config.margin: No module named 'nowhere'"),
        ({"margin": "aird_plugin.losses.instance:IID"}, "is no margin spec"),
        ({"terms": {"mag": MAGFACE}}, "is no term spec"),
        ({"centers": "frozen"}, "set head_init='teacher'"),
    ],
)
def test_invalid_margin_keys_are_rejected(change, words):
    with pytest.raises(ValueError) as error:
        from_flat(MINIMAL | change)
    assert words in str(error.value)
