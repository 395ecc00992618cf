"""Frames, folders and videos -> rows, tracks and files, through the command line."""

import json

import numpy as np
import pytest

from aird_plugin import Gallery
from aird_plugin.data.images import encode_jpeg
from aird_plugin.recognition import recognise
from aird_plugin.recognition.frame_store import FrameFaces, FrameStore
from aird_plugin.recognition.frames import FrameSource
from aird_plugin.recognition.network import Network
from aird_plugin.recognition.tracking import numbered, one_each, track_faces
from aird_plugin.utils.writer_lock import WriterLock
from tests.recognition.commands import command, table
from tests.skips import needs


def test_folder_of_frames(frames, gallery, pack, tmp_path, capsys):
    needs("trackers")
    out = tmp_path / "out"
    assert command(frames, gallery, pack, "--out", out, "--json") == 0
    rows = table(out)
    assert [(row["frame"], row["source"], row["track"]) for row in rows] == [
        ("0", "000.jpg", "0"),
        ("1", "001.jpg", "0"),
        ("2", "002.jpg", "0"),
        ("2", "002.jpg", "1"),
        ("4", "004.jpg", "0"),
        ("4", "004.jpg", "1"),
    ]
    assert {row["name"] for row in rows if row["track"] == "0"} == {"ann"}
    assert rows[0]["px"] == "112" and rows[0]["network"] == "hr" and float(rows[0]["threshold"]) == 0.2
    lines = [json.loads(line) for line in (out / "faces.jsonl").read_text().splitlines()]
    assert len(lines) == 6 and lines[0]["candidates"][0][0] == "ann" and lines[0]["track"] == 0
    drawn = sorted(path.name for path in (out / "annotated").iterdir())
    assert drawn == ["000.jpg", "001.jpg", "002.jpg", "004.jpg"]
    text = capsys.readouterr().out
    assert "5 frames, 1 of them broken and skipped: 6 faces in 2 tracks" in text


def test_rerun_decides_anew_without_reading_faces_again(frames, gallery, pack, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert command(frames, gallery, pack, "--out", out, "--no-faces", "--no-tracks") == 0
    assert not (out / "annotated").exists() and {row["name"] for row in table(out)} >= {"ann"}
    monkeypatch.setattr(recognise, "faces_of", lambda *_: pytest.fail("a face was embedded again"))
    assert command(frames, gallery, pack, "--out", out, "--no-faces", "--no-tracks", "--far", "0.001") == 0
    assert {row["name"] for row in table(out)} == {""} and "no threshold was measured" in capsys.readouterr().out
    assert command(frames, gallery, pack, "--out", out, "--score", "0.4") == 1
    assert "has other settings: --score was 0.5, is 0.4" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done_and_the_rerun_resumes(frames, gallery, pack, tmp_path, monkeypatch, capsys):
    out, seen = tmp_path / "out", []
    real = recognise.faces_of

    def stops(block, analysis):
        if seen:
            raise KeyboardInterrupt
        seen.append([frame.number for frame in block])
        return real(block, analysis)

    monkeypatch.setattr(recognise, "FRAMES_AT_ONCE", 2)
    monkeypatch.setattr(recognise, "faces_of", stops)
    assert command(frames, gallery, pack, "--out", out, "--no-tracks") == 130
    assert "stopped after 2 frames; the same command resumes" in capsys.readouterr().err and len(table(out)) == 2
    monkeypatch.setattr(
        recognise, "faces_of", lambda block, analysis: seen.append([f.number for f in block]) or real(block, analysis)
    )
    assert command(frames, gallery, pack, "--out", out, "--no-tracks") == 0
    assert seen == [[0, 1], [2, 3], [4]] and len(table(out)) == 6


def test_embedding_that_is_not_finite_is_named_by_its_frame(frames, gallery, pack, tmp_path, monkeypatch, capsys):
    """The frames before it are kept, and stored frames with such embeddings are embedded again."""
    out, real = tmp_path / "out", Network.embed

    def overflows(network, crops_FSSC):
        """The faces of frames 2 and 4, which are embedded after those of 0 and 1."""
        embeddings_FD = real(network, crops_FSSC)
        return embeddings_FD if len(embedded) == 0 else embeddings_FD * np.float32("nan")

    embedded: list = []
    monkeypatch.setattr(recognise, "FRAMES_AT_ONCE", 2)
    monkeypatch.setattr(Network, "embed", overflows)
    append = FrameStore.append
    monkeypatch.setattr(FrameStore, "append", lambda store, frame: embedded.append(frame) or append(store, frame))
    assert command(frames, gallery, pack, "--out", out, "--no-tracks") == 1
    error = capsys.readouterr().err
    assert "error: 002.jpg: the embedding of the face at (" in error and "by hr is not finite" in error
    assert len(FrameStore(out).frames) == 2
    monkeypatch.setattr(recognise, "check_finite", lambda *_: None)
    assert command(frames, gallery, pack, "--out", out, "--no-tracks") == 1
    assert len(FrameStore(out).frames) == 2, "the block of frame 2 is taken for damaged"


def test_one_process_at_a_time_writes_an_output(frames, gallery, pack, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(frames, gallery, pack, "--out", out, "--no-tracks") == 0
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    lock = WriterLock(out / "faces.csv")
    assert command(frames, gallery, pack, "--out", out, "--no-tracks", "--json") == 1
    lock.release()
    assert "another process writes" in capsys.readouterr().err
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == before
    assert command(frames, gallery, pack, "--out", out, "--no-tracks") == 0 and not (out / "faces.csv.lock").exists()


def test_photo_prints_json_lines(frames, gallery, pack, capsys):
    assert command(frames / "002.jpg", gallery, pack, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines if line["px"] > 100] == ["ann"] and len(lines) == 2


def test_video_is_annotated(photo_of, gallery, pack, tmp_path, capsys):
    cv2 = needs("cv2")
    needs("trackers")
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 640))
    for n in range(4):
        video.write(np.ascontiguousarray(photo_of(("large", 16 * n, 0))[..., ::-1]))
    video.release()
    assert command(tmp_path / "v.avi", gallery, pack, "--out", tmp_path / "out") == 0
    assert [row["name"] for row in table(tmp_path / "out")] == ["ann"] * 4
    written = cv2.VideoCapture(str(tmp_path / "out" / "annotated.mp4"))
    assert written.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    # Cut in the middle: frames before the cut count, the rest ends the video or is broken.
    (tmp_path / "cut.avi").write_bytes((tmp_path / "v.avi").read_bytes()[: (tmp_path / "v.avi").stat().st_size // 2])
    frames = list(FrameSource(tmp_path / "cut.avi").read())
    assert 0 < sum(frame.image_HWC is not None for frame in frames) < 4


def test_wrong_inputs_are_one_line(frames, gallery, pack, tmp_path, capsys, photo_of):
    (tmp_path / "empty").mkdir()
    (tmp_path / "v.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "nobody.jpg").write_bytes(encode_jpeg(photo_of()))
    for path, message in (
        (tmp_path / "empty", "has no frame"),
        (tmp_path / "missing", "no video, folder of frames or photo"),
        (tmp_path / "v.mp4", "nor a video that OpenCV can read"),
    ):
        assert command(path, gallery, pack, "--no-tracks") == 1
        assert message in capsys.readouterr().err
    assert command(frames, gallery, pack, "--no-tracks", "--out", frames / "out") == 1
    assert "lies within" in capsys.readouterr().err
    assert command(frames, str(tmp_path / "no.npz"), pack, "--no-tracks") == 1
    assert "no gallery at" in capsys.readouterr().err
    assert command(frames, gallery, pack / "tiny", pack / "det_markers.onnx", "--no-tracks") == 1
    assert "was made with" in capsys.readouterr().err
    assert command(tmp_path / "nobody.jpg", gallery, pack) == 0
    assert "0 faces in 0 tracks" in capsys.readouterr().out


def moving(common, steps, score=0.9):
    """Frames with one face at each given x, or without for None."""
    boxes = [None if x is None else np.array([x, 50, x + 20, 70], np.float32) for x in steps]
    faces = [[] if box is None else [common.Face(bbox=box, det_score=score)] for box in boxes]
    return [FrameFaces(number, "", False, own) for number, own in enumerate(faces)]


def test_track_survives_a_gap_and_moves_of_its_own_width():
    needs("trackers")
    common = needs("insightface.app.common")
    assert track_faces(moving(common, [0, 18, 36, None, 72, 90]), 25) == [[0], [0], [0], [], [0], [0]]
    # Another face elsewhere, much later, is another track.
    assert track_faces(moving(common, [0, 5, 10, *[None] * 40, 400, 405]), 25)[-2:] == [[1], [1]]


def test_numbers_ascend_with_the_first_appearance():
    assert numbered([np.array([7, -1]), np.array([3, 7]), np.array([-1])]) == [[0, 1], [2, 0], [3]]
    assert one_each([FrameFaces(0, "", False, ["a", "b"]), FrameFaces(1, "", False, ["c"])]) == [[0, 1], [2]]


def test_gallery_with_nobody_is_refused(analysis, frames, pack, tmp_path, capsys):
    Gallery(analysis).save(tmp_path / "none.npz")
    assert command(frames, str(tmp_path / "none.npz"), pack, "--no-tracks") == 1
    assert "has no identity" in capsys.readouterr().err
