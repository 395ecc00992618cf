"""The parts of the photo tool that decide what counts as right."""

import numpy as np

from aird_plugin.recognition.match import Match
from tests.skips import needs
from tools.recognise_photo import assigned, count_named, count_right, make_shots


def test_shots_keep_the_landmarks_on_the_faces():
    needs("cv2")
    photo_HWC = np.zeros((200, 300, 3), np.uint8)
    photo_HWC[80:120, 160:200] = 255
    points_F52 = np.full((1, 5, 2), (179.5, 99.5))
    for image_HWC, points in make_shots(photo_HWC, points_F52, 0.1, 4):
        y, x = np.argwhere(image_HWC[..., 0] > 127).mean(0)
        assert image_HWC.shape == (20, 30, 3) and np.abs(points[0, 0] - (x, y)).max() < 0.5


def test_faces_are_assigned_to_the_nearest_person_near_enough():
    common = needs("insightface.app.common")
    points_F52 = np.stack([np.zeros((5, 2)), np.full((5, 2), 30.0)])
    near, nearer, far = (common.Face(kps=np.full((5, 2), value)) for value in (3.0, 29.0, 15.0))
    assert assigned([near, nearer, far], points_F52, px=16) == {0: near, 1: nearer}
    doubled = common.Face(kps=np.full((5, 2), 1.0))
    assert assigned([near, doubled], points_F52, px=16)[0] is doubled


def test_a_name_is_right_only_for_its_own_person():

    def match(name, nearest):
        return Match(name, 0.5, 0.4, 0.01, "", [(nearest, 0.5)] if nearest else [], 16.0, "hr")

    matches = [match("person 0", "person 0"), match("unknown", "person 1"), match("person 0", "person 0"), match(None, None)]
    assert count_right(matches) == 2 and count_named(matches) == "1 / 1"
    assert count_named([match(None, "person 0")]) == "-"
