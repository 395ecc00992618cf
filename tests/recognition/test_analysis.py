"""`TinyFaceAnalysis` against InsightFace's FaceAnalysis and the networks themselves."""

import numpy as np
import pytest

from aird_plugin.recognition.analysis import TinyFaceAnalysis, own_size
from aird_plugin.recognition.crops import face_crops, face_sizes
from tests.skips import needs


def test_faces_are_those_of_insightface(pack, frame, tmp_path):
    app = needs("insightface.app")
    for file in ("det_markers.onnx", "hr.onnx"):
        (tmp_path / file).symlink_to(pack / file)
    theirs = app.FaceAnalysis(str(tmp_path), providers=["CPUExecutionProvider"])
    theirs.prepare(-1, det_size=(640, 640))
    ours = TinyFaceAnalysis(tmp_path)
    ours.prepare(-1, det_size=(640, 640))
    expected, faces = theirs.get(frame), ours.get(frame)
    assert len(faces) == len(expected) == 3 and type(faces[0]) is type(expected[0])
    for face, other in zip(faces, expected, strict=True):
        for key in ("bbox", "kps", "det_score"):
            np.testing.assert_array_equal(face[key], other[key])
        # A crop may differ by a grey level: InsightFace's template has float32 numbers.
        assert face.normed_embedding @ other.normed_embedding > 0.999


def test_each_face_goes_to_the_network_of_its_size(routed, frame):
    faces = sorted(routed.get(frame), key=lambda face: face.px)
    assert [round(face.px) for face in faces] == [56, 56, 112]
    assert [face.embedded_by for face in faces] == ["tiny", "tiny", "hr"]
    assert [face.quality for face in faces] == pytest.approx([0.5, 0.5, 1.0], abs=0.01)
    student = routed.models.students[0]
    for face in faces[:2]:
        crops = face_crops(frame, *face_sizes(face.kps[None]), 16)
        np.testing.assert_allclose(face.embedding, student.embed(crops)[0], atol=1e-6)
        assert face.network_id == student.identity


def test_several_frames_at_once_equal_each_alone(routed, frame):
    frames = [frame, np.zeros_like(frame), np.ascontiguousarray(frame[:, ::-1]), frame]
    together = routed.get_many(frames)
    for faces, one in zip(together, frames, strict=True):
        alone = routed.get(one)
        assert len(faces) == len(alone)
        for face, other in zip(faces, alone, strict=True):
            np.testing.assert_allclose(face.embedding, other.embedding, atol=1e-5)
    assert together[1] == []


def test_landmarks_of_no_face_have_no_embedding(routed, frame):
    face = routed.detect(frame, max_num=1)[0]
    face.kps = np.ones((5, 2), np.float32)
    routed.embed([frame], [[face]])
    assert np.isnan(face.px) and face.embedding is None and face.quality == 0


def test_detection_size_is_the_frames_own_within_limits(pack, frame):
    sizes = [own_size(np.zeros(shape, np.uint8)) for shape in ((480, 704, 3), (2160, 3840, 3), (76, 110, 3))]
    assert sizes == [(704, 480), (1920, 1088), (640, 448)]
    analysis = TinyFaceAnalysis(pack)
    with pytest.raises(ValueError, match="multiples of 32"):
        analysis.prepare(-1, det_size=(600, 600))
    for wrong in (None, frame.astype(float), frame[..., 0], frame[:0]):
        with pytest.raises(ValueError, match="a frame is uint8"):
            analysis.get(wrong)
