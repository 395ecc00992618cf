"""The model files found in folders, and which of several is the HR recogniser."""

import shutil

import pytest

from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.networks import open_models
from tests.recognition.conftest import write_hr
from tests.skips import needs


def test_missing_pack_is_not_downloaded(tmp_path):
    with pytest.raises(FileNotFoundError, match="no models at buffalo_l"):
        TinyFaceAnalysis("buffalo_l", root=tmp_path)


def test_second_recogniser_is_refused_where_it_was_named(pack, tmp_path):
    onnx = needs("onnx")
    write_hr(onnx, tmp_path / "other.onnx", seed=7)
    for sources in ([pack / "hr.onnx", tmp_path / "other.onnx"], [pack, tmp_path / "other.onnx"]):
        with pytest.raises(ValueError, match="hr.onnx and .*other.onnx are both HR recognisers.*metadata"):
            open_models(sources)
    # Of a folder the first one counts, and none where another was named before.
    shutil.copy(pack / "hr.onnx", tmp_path / "a.onnx")
    assert open_models([tmp_path]).hr.name == "a" and open_models([pack / "hr.onnx", tmp_path]).hr.name == "hr"
    assert open_models([pack / "hr.onnx", tmp_path / "a.onnx"]).hr.name == "hr"
