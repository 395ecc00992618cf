"""The order of the faces of a photo."""

import numpy as np
import pytest

from aird_plugin.alignment.crop import template
from aird_plugin.alignment.detections import PICKS, Detections, ranked
from aird_plugin.cli import align
from tests.skips import needs

needs("skimage")


def detections(*places) -> Detections:
    """Faces of the template's shape, from px and the landmarks' mean (x, y)."""
    centered_52 = template() - template().mean(0)
    return Detections(np.array([centered_52 * (px / 112) + (x, y) for px, x, y in places]), np.arange(len(places)) / 10)


@pytest.mark.parametrize(
    ("places", "order"),
    [
        ([(20, 100, 100), (40, 100, 100)], [1, 0]),  # the larger one
        ([(40, 20, 20), (30, 100, 100)], [1, 0]),  # 1600 - 2 * 12800 against 900
        ([(40, 110, 100), (39, 100, 100)], [1, 0]),  # 1600 - 200 against 1521
        ([(40, 108, 100), (36, 100, 100)], [0, 1]),  # 1600 - 128 against 1296
        ([(80, 300, 100), (5, 100, 100)], [1, 0]),  # a face outside the photo comes last
        ([], []),
    ],
)
def test_large_and_central_face_comes_first(places, order):
    ranking = ranked(detections(*places) if places else Detections(np.empty((0, 5, 2)), np.empty(0)), 200, 200)
    assert [round(face.score * 10) for face in ranking] == order


@pytest.mark.parametrize(("pick", "first"), [("prominent", 1), ("largest", 0), ("central", 2)])
def test_other_rules_pick_other_faces(pick, first):
    """Offsets from the center (100, 100): 60 and 0, 20 and 0, 5 and 0. The weights of "prominent" are -800, 1700 and 850."""
    ranking = ranked(detections((80, 160, 100), (50, 120, 100), (30, 105, 100)), 200, 200, pick)
    assert round(ranking[0].score * 10) == first


def test_invalid_face_comes_last_with_its_problem():
    first, last = ranked(detections((80, 300, 100), (5, 100, 100)), 200, 200)
    assert first.problem == "" and first.px == pytest.approx(5)
    assert "outside a photo of 200x200" in last.problem and np.isnan(last.px)


def test_the_command_offers_every_rule():
    """The command line repeats the names, so that its help needs no numpy."""
    assert align.PICKS == tuple(PICKS)
