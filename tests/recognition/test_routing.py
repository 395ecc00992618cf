"""Which network embeds which px, and the thresholds of each pair of px."""

import numpy as np
import pytest

from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.calibration import Calibration, Side
from aird_plugin.recognition.routing import DEFAULT_LIMIT
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
    for limits, message in (({"x": 3}, "limits name x"), ({"tiny": "9"}, "is a px of 0 or more"), ({"mid": 18}, "do not ascend")):
        with pytest.raises(ValueError, match=message):
            TinyFaceAnalysis([*sources, tmp_path / "mid"], limits=limits)


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
    assert text == "no threshold was measured at a false-accept rate of 0.001 or less (measured: 0.01, 0.1; from 16 px on)"
    assert reasons((9, 15), 0.01) == {"no threshold was measured for faces below 16 px"}
    other = analysis.calibration.threshold(Side("f" * 64, 40), hr, 0.01).reason
    assert other == "no threshold was measured for these networks; `aird calibrate` measures them"
