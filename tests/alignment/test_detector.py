"""How the detector is opened, with stand-ins for onnxruntime and insightface."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from aird_plugin.alignment import detector
from aird_plugin.alignment.detector import Detector


@pytest.mark.parametrize(("asked", "threads"), [(0, 3), (1, 1)])
def test_threads_default_to_the_cores_that_the_process_may_use(monkeypatch, tmp_path, asked, threads):
    opened = {}

    def get_model(name, providers, sess_options, static_shape_sessions):
        opened["threads"] = sess_options.intra_op_num_threads
        return SimpleNamespace(taskname="detection", use_kps=True, input_size=(640, 640), prepare=lambda *args, **options: None)

    onnxruntime, insightface, model_zoo = (ModuleType(name) for name in ("onnxruntime", "insightface", "insightface.model_zoo"))
    onnxruntime.SessionOptions = SimpleNamespace
    model_zoo.get_model = get_model
    for module in (onnxruntime, insightface, model_zoo):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(detector, "usable_cores", lambda: 3)
    Detector(tmp_path / "det.onnx", threads=asked)
    assert opened == {"threads": threads}


def test_photos_of_many_sizes_share_one_session_and_warn_of_nothing(detectors, photo_of, capfd):
    opened = Detector(detectors / "det_markers.onnx")
    photo_HWC = np.ascontiguousarray(photo_of(("large", 0, 0))[..., ::-1])
    for width in (640, 672, 704):
        boxes_F5, _ = opened.network.detect(photo_HWC, input_size=(width, 640))
        assert len(boxes_F5) == 1
    assert len({id(session) for session in opened.network.resolution_sessions.values()}) == 1
    assert capfd.readouterr().err == ""
