"""Keys of earlier versions in recipes, overrides and recipe.json."""

import pytest

from aird_plugin.config.recipe import from_flat, load

MINIMAL = {"rec": "faces", "output": "out", "head_init": "teacher"}


@pytest.mark.parametrize(
    ("old", "centers"),
    [
        ({"head_frozen": True}, "frozen"),
        ({"head_frozen": False, "head_adaptive": True}, "adaptive"),
        ({"head_frozen": False, "head_adaptive": False}, "trained"),
        ({"head_frozen": True, "centers": "frozen"}, "frozen"),
    ],
)
def test_two_keys_of_the_head_became_centers(old, centers):
    recipe = from_flat(MINIMAL | old)
    assert recipe.head.centers == centers and not set(recipe.flat()) & {"head_frozen", "head_adaptive"}


def test_old_key_overrides_the_centers_of_a_recipe(tmp_path):
    (tmp_path / "own.py").write_text(f"config = {MINIMAL | {'centers': 'frozen'}}")
    assert load(tmp_path / "own.py", ["head_frozen=False"]).head.centers == "trained"
    assert load(tmp_path / "own.py", ["head_adaptive=True"]).head.centers == "adaptive"


@pytest.mark.parametrize(
    ("old", "words"),
    [
        ({"head_frozen": True, "head_adaptive": True}, "contradict one another"),
        ({"head_frozen": True, "centers": "trained"}, "head_frozen=True, centers='trained' contradict"),
        ({"head_adaptive": 1}, "head_adaptive is a bool; got 1"),
    ],
)
def test_contradicting_keys_are_rejected(old, words):
    with pytest.raises(ValueError, match=words):
        from_flat(MINIMAL | old)
