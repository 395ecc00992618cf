import pytest

from aird_plugin.prior.config import PriorConfig


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"prior_layer": "up"}, "prior_layer is one of down, mid; got 'up'"),
        ({"prior_widths": ()}, "multiples of 8"),
        ({"prior_widths": (12,)}, "multiples of 8"),
        ({"prior_side": 30}, "prior_side is a multiple of 8"),
        ({"prior_side": -8}, "prior_side is a multiple of 8"),
        ({"prior_timestep": -1}, "prior_timestep must be 0 or more"),
        ({"prior_ema": 1.0}, "below 1"),
        ({"prior_sampling_steps": 0}, "prior_sampling_steps must be 1 or more"),
    ],
)
def test_invalid_keys_are_rejected(keys, words):
    with pytest.raises(ValueError, match=words):
        PriorConfig(**keys)


def test_default_recipe_has_no_prior():
    assert PriorConfig().prior is None and PriorConfig().prior_side == 0
