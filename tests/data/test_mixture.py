import numpy as np
import pytest

from aird_plugin.data.degradation import DEGRADATIONS
from aird_plugin.data.lowres import RESIZE
from aird_plugin.data.mixture import check_degradation, draw_degradations, verified_degradation, version_of


def test_shares_are_the_weights():
    names = draw_degradations(np.random.default_rng(0), {"noise": 3, "bicubic": 1.0, "jpeg": 1e-300}, 40_000)
    # Five standard deviations of a share of 40,000 draws are 0.011.
    assert names.count("noise") / 40_000 == pytest.approx(0.75, abs=0.011)
    assert names.count("noise") + names.count("bicubic") == 40_000


def test_the_order_of_the_keys_does_not_matter():
    mixture = {name: weight for weight, name in enumerate(DEGRADATIONS, 1)}
    backwards = dict(reversed(mixture.items()))
    one, other = (draw_degradations(np.random.default_rng(1), keys, 500) for keys in (mixture, backwards))
    assert one == other and set(one) == set(DEGRADATIONS)


def test_a_single_name_draws_nothing():
    rng = np.random.default_rng(2)
    assert draw_degradations(rng, "blur", 3) == ["blur"] * 3
    assert rng.random() == np.random.default_rng(2).random()
    assert draw_degradations(rng, {"blur": 1e308, "noise": 1.7e308}, 0) == []
    assert set(draw_degradations(rng, {"blur": 1e308, "noise": 1.7e308}, 99)) == {"blur", "noise"}


def test_verification_and_recorded_version():
    mixture = {"realworld": 1, "blur": 2}
    assert verified_degradation("blur") == "blur" and verified_degradation(mixture) == "bicubic"
    assert version_of("bicubic") == RESIZE
    assert version_of(mixture) == f"mixture of blur: {RESIZE}, blur/1; realworld: realworld/1, {RESIZE}"


@pytest.mark.parametrize(
    ("degradation", "words"),
    [
        ("fog", "one of bicubic.*got 'fog'"),
        ({}, "empty mixture; name one of bicubic"),
        ({"bicubic": 1, "fog": 1}, "mixture of bicubic, insightface-warp.*got 'fog'"),
        ({1: 1}, "got 1"),
        *[
            ({"blur": weight}, r"degradation\['blur'\] is a weight")
            for weight in (0, -1, float("nan"), float("inf"), True, "1", None)
        ],
        ({"blur": 10**400}, "finite number above 0"),
    ],
)
def test_invalid_degradations_are_rejected(degradation, words):
    with pytest.raises(ValueError, match=words):
        check_degradation(degradation)
