"""Which network embeds which px, and the thresholds of each pair of px."""

from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.calibration import Calibration, Side
from aird_plugin.recognition.network import Network
from aird_plugin.recognition.networks import Models
from aird_plugin.recognition.routing import DEFAULT_LIMIT, describe_sizes, find_limits
from tests.recognition.conftest import entry, write_export

OWN = f"{1:064x}"


def test_limit_is_where_the_measurements_cross(analysis):
    # The student accepts more at 16 px (0.6 both: not more), less at 32 px.
    assert analysis.limits == {"tiny": 0.0}
    rows = [entry("s", "h", "lr-hr", {16: 0.5, 32: 0.5}, 0.5), entry("h", "h", "lr-hr", {16: 0.5, 32: 0.5}, 0.9)]
    rows[0]["rows"][0]["points"][1]["tar"] = 0.7
    assert Calibration(rows).crossing("s", "h") == 24.0
    assert Calibration(rows).crossing("h", "s") is None
    rows[0]["rows"][1]["points"][1]["tar"] = 0.95
    assert Calibration(rows).crossing("s", "h") == float("inf")


def test_default_and_given_limits(pack, tmp_path):
    write_export(tmp_path / "tiny", pack / "hr.onnx")
    (tmp_path / "tiny" / "thresholds.json").unlink()
    sources = [pack / "hr.onnx", tmp_path / "tiny"]
    assert TinyFaceAnalysis(sources).limits == {"tiny": DEFAULT_LIMIT}
    write_export(tmp_path / "mid", pack / "hr.onnx", seed=3, side=32)
    analysis = TinyFaceAnalysis([*sources, tmp_path / "mid"], limits={"mid": 40, "tiny": 20})
    assert list(analysis.limits.items()) == [("tiny", 20.0), ("mid", 40.0)]
    assert analysis.route(np.array([4, 19.9, 20, 39, 40, 300])).tolist() == [0, 0, 1, 1, 2, 2]
    for limits, message in (
        ({"x": 3}, "limits name x"),
        ({"tiny": "9"}, "is a px of 0 or more"),
        ({"tiny": 30}, "do not ascend"),
    ):
        with pytest.raises(ValueError, match=message):
            TinyFaceAnalysis([*sources, tmp_path / "mid"], limits=limits)


def limits_of(calibration=None, given=None):
    """The limits of a 16 px student, a 112 px student and an HR recogniser, whose identities are s, z and h."""
    students = [Network(name, SimpleNamespace(input_size=side, embedding_size=8), name) for name, side in (("s", 16), ("z", 112))]
    hr = Network("h", SimpleNamespace(input_size=112, embedding_size=8), "h")
    return find_limits(Models(None, hr, students), calibration or Calibration(), given)


def test_default_limits_ascend_with_a_student_of_the_recognisers_own_input():
    assert limits_of() == {"s": pytest.approx((16 * DEFAULT_LIMIT) ** 0.5), "z": DEFAULT_LIMIT}
    assert limits_of(given={"z": 20}) == {"s": pytest.approx((16 * 20) ** 0.5), "z": 20.0}


@pytest.mark.parametrize(
    ("s", "z", "h", "limits"),
    [
        pytest.param((9, 6, 2), (8, 7, 6), (1, 5, 7), {"s": 20.0, "z": 40.0}, id="each is best somewhere"),
        pytest.param((9, 8, 2), (5, 4, 3), (1, 5, 7), {"s": 40.0, "z": 40.0}, id="a student that is never best is unused"),
        pytest.param((3, 3, 3), (8, 7, 6), (1, 5, 7), {"s": 0.0, "z": 40.0}, id="the smallest student is never best"),
    ],
)
def test_students_measured_against_one_recogniser_are_compared_with_each_other(s, z, h, limits):
    entries = [entry(name, "h", "lr-hr", {16: 0.5, 24: 0.5, 56: 0.5}, 0.5) for name in ("s", "z", "h")]
    for one, tars in zip(entries, (s, z, h), strict=True):
        for row, tar in zip(one["rows"], tars, strict=True):
            row["points"][1]["tar"] = tar / 10
    assert limits_of(Calibration(entries)) == limits


def test_threshold_is_that_of_the_smaller_face(analysis):
    hr = analysis.models.hr.identity

    def cosine(first, second, far=0.01):
        return analysis.calibration.threshold(Side(*first), Side(*second), far).cosine

    # Against a face of 64 px or more the lr-hr row, else the higher of both protocols.
    assert cosine((OWN, 17), (hr, 112)) == 0.4 and cosine((hr, 112), (OWN, 40)) == 0.35
    assert cosine((OWN, 17), (hr, 40)) == 0.6 and cosine((OWN, 17), (OWN, 20)) == 0.6
    assert cosine((hr, 112), (hr, 70)) == 0.2
    # A rate in between takes the stricter one; what was not measured has no threshold.
    assert cosine((OWN, 17), (hr, 112), far=0.05) == 0.4 and cosine((OWN, 17), (hr, 112), far=0.1) == pytest.approx(0.3)
    assert cosine((OWN, 17), (hr, 112), far=0.001) is None and cosine((OWN, 15), (hr, 112)) is None


def test_reason_names_what_was_measured_whatever_the_px(analysis):
    hr = Side(analysis.models.hr.identity, 112)

    def reasons(sides, far):
        return {analysis.calibration.threshold(Side(OWN, px), hr, far).reason for px in sides}

    [text] = reasons((17, 40, 136), 0.001)
    measured = "no threshold was measured at a false-accept rate of 0.001 or less (measured: 0.01, 0.1; from 16 px on)"
    assert text == f"{measured}; it needs 10,000 impostor pairs"
    assert reasons((9, 15), 0.01) == {"no threshold was measured for faces below 16 px"}
    other = analysis.calibration.threshold(Side("f" * 64, 40), hr, 0.01).reason
    assert other == "no threshold was measured for these networks; `aird calibrate` measures them"


@pytest.mark.parametrize(
    ("limits", "texts"),
    [
        ({"a": 24.0}, ["below 24 px", "from 24 px"]),
        ({"a": 24.0, "b": 60.0}, ["below 24 px", "from 24 to 60 px", "from 60 px"]),
        ({"a": 0.0}, ["unused", "all sizes"]),
        ({"a": float("inf")}, ["all sizes", "unused"]),
        ({"a": 24.0, "b": float("inf")}, ["below 24 px", "from 24 px", "unused"]),
    ],
)
def test_sizes_of_each_network_in_words(limits, texts):
    assert describe_sizes([SimpleNamespace(name=name) for name in [*limits, "hr"]], limits) == texts
