"""The networks that are opened, and the ones that do not belong together."""

import shutil

import numpy as np
import pytest

from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.model_files import find_sources
from aird_plugin.recognition.networks import open_models
from aird_plugin.utils.files import file_sha256
from tests.recognition.conftest import write_export, write_hr
from tests.skips import needs


def test_pack_has_detector_hr_and_the_students_native_file(pack):
    by_name = open_models(find_sources("pack", pack.parents[1]))
    assert by_name.detector == pack / "det_markers.onnx" and by_name.hr.name == "hr"
    [student] = by_name.students
    assert (student.name, student.side, student.model.path.parent.name) == ("tiny", 16, "native")
    several = open_models([pack / "hr.onnx", pack / "tiny", pack / "det_markers.onnx"])
    assert [one.identity for one in several.networks] == [one.identity for one in by_name.networks]


def test_export_alone_is_a_pack(pack, tmp_path):
    shutil.copytree(pack / "tiny", tmp_path / "tiny")
    shutil.copy(pack / "det_markers.onnx", tmp_path / "tiny")
    models = open_models([tmp_path / "tiny"])
    assert models.detector == tmp_path / "tiny" / "det_markers.onnx" and models.hr is None
    assert [network.side for network in models.networks] == [16]


def test_folder_without_recogniser_is_refused(pack, tmp_path):
    shutil.copy(pack / "det_markers.onnx", tmp_path)
    with pytest.raises(ValueError, match="no recogniser in"):
        TinyFaceAnalysis(tmp_path)


def test_networks_of_other_coordinates_are_refused(pack, tmp_path):
    onnx = needs("onnx")
    write_hr(onnx, tmp_path / "other.onnx", seed=7)
    with pytest.raises(ValueError, match="other.onnx .* is not the teacher of"):
        open_models([tmp_path / "other.onnx", pack / "tiny"])
    write_export(tmp_path / "second", tmp_path / "other.onnx", seed=8, side=24)
    with pytest.raises(ValueError, match="different teachers"):
        open_models([pack / "tiny", tmp_path / "second"])


def test_allowed_modules_are_those_of_insightface(pack, frame):
    analysis = TinyFaceAnalysis(pack, "~/.insightface", ["detection", "genderage"])
    analysis.prepare(-1, det_size=(640, 640))
    faces = analysis.get(frame)
    assert len(faces) == 3 and analysis.networks == {} and analysis.limits == {}
    assert all(face.embedding is None and face.px > 50 for face in faces)
    with pytest.raises(ValueError, match="no recogniser was opened: allowed_modules has no 'recognition'"):
        _ = analysis.dim
    assert TinyFaceAnalysis(pack, allowed_modules=["recognition", "detection"]).models.hr.name == "hr"
    with pytest.raises(ValueError, match=r"allowed_modules must have 'detection', got \['recognition'\]"):
        TinyFaceAnalysis(pack, allowed_modules=["recognition"])


def test_thresholds_of_another_model_are_refused(pack, tmp_path):
    shutil.copytree(pack / "tiny", tmp_path / "tiny")
    file = tmp_path / "tiny" / "thresholds.json"
    file.write_text(file.read_text().replace(f"{1:064x}", f"{2:064x}"))
    with pytest.raises(ValueError, match="belongs to another model"):
        open_models([tmp_path / "tiny"])


def test_other_providers_are_refused(pack):
    with pytest.raises(ValueError, match="providers must be among"):
        TinyFaceAnalysis(pack, providers=["TensorrtExecutionProvider"])


def test_stated_input_feeds_the_network_and_is_part_of_its_identity(pack, tmp_path, noise_faces):
    file = shutil.copy(pack / "hr.onnx", tmp_path)
    [plain] = open_models([tmp_path]).networks
    [bgr] = open_models([tmp_path], inputs={"hr": {"color": "bgr"}}).networks
    images_NHWC = noise_faces(2)
    np.testing.assert_array_equal(bgr.embed(np.ascontiguousarray(images_NHWC[..., ::-1])), plain.embed(images_NHWC))
    same = {"color": "rgb", "mean": 127.5, "output": 0}
    [usual] = open_models([tmp_path], inputs={"hr": same}).networks
    assert plain.identity == usual.identity == file_sha256(file) != bgr.identity
    [again] = open_models([tmp_path], inputs={"hr": {"color": "bgr", "std": 127.5}}).networks
    assert bgr.identity == again.identity


def test_input_of_an_unknown_network_is_refused(pack):
    with pytest.raises(ValueError, match="an input is stated for other; the networks are tiny, hr"):
        open_models([pack], inputs={"other": {"color": "bgr"}})
