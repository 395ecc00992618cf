"""Which face of a photo counts."""

import numpy as np
import pytest

from aird_plugin.alignment.found import Found, ranked
from aird_plugin.data.align import template


def faces(*places) -> Found:
    """px, and the middle of the points."""
    around_52 = template() - template().mean(0)
    return Found(np.array([around_52 * (px / 112) + (x, y) for px, x, y in places]), np.arange(len(places)) / 10)


@pytest.mark.parametrize(("places", "order"), [
    ([(20, 100, 100), (40, 100, 100)], [1, 0]),  # the larger one
    ([(40, 20, 20), (30, 100, 100)], [1, 0]),  # 1600 - 2 * 12800 against 900
    ([(40, 110, 100), (39, 100, 100)], [1, 0]),  # 1600 - 200 against 1521
    ([(40, 108, 100), (36, 100, 100)], [0, 1]),  # 1600 - 128 against 1296
    ([(80, 300, 100), (5, 100, 100)], [1, 0]),  # outside the photo is no face
    ([], []),
])  # fmt: skip
def test_the_large_and_central_one_counts(places, order):
    told = ranked(faces(*places) if places else Found(np.empty((0, 5, 2)), np.empty(0)), 200, 200)
    assert [round(face.score * 10) for face in told] == order


def test_a_face_that_is_none_comes_last_and_says_why():
    first, last = ranked(faces((80, 300, 100), (5, 100, 100)), 200, 200)
    assert first.problem == "" and first.px == pytest.approx(5)
    assert "outside a photo of 200x200" in last.problem and np.isnan(last.px)
