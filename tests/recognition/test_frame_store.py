"""The stored faces of processed frames: what is read is what was written, and damage is no crash."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest

from aird_plugin.recognition.frame_store import FrameFaces, FrameStore
from tests.recognition.commands import command, table


def test_store_returns_what_was_stored_and_drops_a_damaged_block(routed, frame, tmp_path, monkeypatch):
    monkeypatch.setattr("aird_plugin.recognition.frame_store.BLOCK", 2)
    store = FrameStore(tmp_path)
    faces = [routed.get(frame), [], routed.get(frame)]
    faces[2][0].kps = np.ones((5, 2), np.float32)
    del faces[2][0]["embedding"]
    faces[2][0].embedding = None
    for number, own in enumerate(faces):
        store.append(FrameFaces(number, f"{number}.jpg", number == 1, own))
    store.flush()
    again = FrameStore(tmp_path)
    assert [(one.number, one.name, one.broken, len(one.faces)) for one in again.frames] == [
        (0, "0.jpg", False, 3),
        (1, "1.jpg", True, 0),
        (2, "2.jpg", False, 3),
    ]
    for stored, face in zip(again.frames[0].faces, faces[0], strict=True):
        np.testing.assert_array_equal(stored.embedding, face.embedding)
        assert (stored.embedded_by, stored.network_id) == (face.embedded_by, face.network_id)
        assert stored.px == pytest.approx(face.px) and (stored.bbox == face.bbox).all()
    assert again.frames[2].faces[0].embedding is None and again.frames[2].faces[1].embedding is not None
    file = tmp_path / "frames" / "00000002.npz"
    file.write_bytes(file.read_bytes()[:-50])
    assert len(FrameStore(tmp_path).frames) == 2


def test_block_of_frames_without_a_face(tmp_path):
    store = FrameStore(tmp_path)
    for number in range(64):
        store.append(FrameFaces(number, "", False, []))
    store.append(FrameFaces(64, "", True, []))
    store.flush()
    again = FrameStore(tmp_path).frames
    assert [(one.number, one.broken, one.faces) for one in again] == [(n, n == 64, []) for n in range(65)]


def test_photo_without_a_face_with_out(gallery, pack, photo_of, tmp_path, capsys):
    from aird_plugin.data.images import encode_jpeg

    (tmp_path / "no_face.jpg").write_bytes(encode_jpeg(photo_of()))
    for _ in range(2):
        assert command(tmp_path / "no_face.jpg", gallery, pack, "--out", tmp_path / "out") == 0
        assert "0 faces in 0 tracks" in capsys.readouterr().out
    assert table(tmp_path / "out") == [] and (tmp_path / "out" / "annotated.jpg").exists()


@pytest.fixture
def block(routed, frame, tmp_path):
    """The file of one stored frame with three faces."""
    store = FrameStore(tmp_path)
    store.append(FrameFaces(0, "0.jpg", False, routed.get(frame)))
    store.flush()
    return tmp_path / "frames" / "00000000.npz"


@pytest.mark.parametrize("method", [9, 97, 99])
def test_other_compression_method_is_a_damaged_block(block, tmp_path, method):
    content = block.read_bytes()
    for signature, place in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        at = content.index(signature) + place
        content = content[:at] + method.to_bytes(2, "little") + content[at + 2 :]
    block.write_bytes(content)
    assert FrameStore(tmp_path).frames == []


def test_encrypted_block_is_a_damaged_block(block, tmp_path):
    content = block.read_bytes()
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.index(signature) + place
        content = content[:at] + bytes([content[at] | 1]) + content[at + 1 :]
    block.write_bytes(content)
    assert FrameStore(tmp_path).frames == []


@pytest.mark.parametrize(
    "changed",
    [
        {"frames": []},
        {"frames": [[0, "0.jpg", False, 2]]},
        {"frames": [[5, "0.jpg", False, 3]]},
        {"frames": [[0, "0.jpg", False, 4], [1, "1.jpg", False, -1]]},
        {"frames": [["0", None, 7, "3"]]},
        {"frames": 7},
        {"texts": [["hr", "id"]]},
        {"texts": [None, None, None]},
        {"texts": [["hr"], 5, {}]},
    ],
)
def test_content_that_does_not_fit_together_is_a_damaged_block(block, tmp_path, changed):
    with np.load(block) as stored:
        arrays = dict(stored)
    meta = json.loads(arrays["meta"].tobytes()) | changed
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(block, **arrays)
    assert FrameStore(tmp_path).frames == []


@pytest.mark.parametrize(("key", "value"), [("bbox", np.zeros((3, 2))), ("px", np.zeros(3)), ("embedding", np.zeros((2, 16)))])
def test_arrays_of_another_shape_are_a_damaged_block(block, tmp_path, key, value):
    with np.load(block) as stored:
        arrays = dict(stored)
    np.savez(block, **(arrays | {key: value.astype(np.float32)}))
    assert FrameStore(tmp_path).frames == []


def test_header_of_a_huge_array_is_a_damaged_block(block, tmp_path):
    """NumPy would allocate what a header states before it reads."""
    with zipfile.ZipFile(block) as stored:
        members = {name: stored.read(name) for name in stored.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (1 << 28, 4), "fortran_order": False, "descr": "<f4"})
    members["bbox.npy"] = header.getvalue() + members["bbox.npy"][len(header.getvalue()) :]
    with zipfile.ZipFile(block, "w") as stored:
        for name, content in members.items():
            stored.writestr(name, content)
    tracemalloc.start()
    assert FrameStore(tmp_path).frames == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
