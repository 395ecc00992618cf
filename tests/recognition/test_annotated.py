"""Annotated frames and videos: one for each frame, none of an earlier run, nothing half-written, names as they are."""

import numpy as np
import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.recognition import annotated
from aird_plugin.recognition.annotated import annotated_names, draw, write_annotated
from aird_plugin.recognition.frames import VIDEO, Frame, FrameSource
from aird_plugin.recognition.recognise import FaceRow, Recognition
from tests.recognition.commands import command
from tests.skips import needs


def row(frame=0, name="ann", x1=20.0):
    return FaceRow(frame, "", 0, x1, 60.0, x1 + 40, 100.0, 40.0, "hr", name, 0.5, 0.2)


def recognition(n_frames, *rows):
    return Recognition(list(rows), [], [], n_frames, [])


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png", "b.jpg"], ["a.jpg", "b.jpg"]),
        (["a.jpg", "a.png", "b.bmp"], ["a.jpg.jpg", "a.png.jpg", "b.jpg"]),
        (["1/a.jpg", "2/a.png"], ["1/a.jpg", "2/a.jpg"]),
        (["a.jpg", "a.png", "a.png.jpg"], ["a.jpg.jpg", "a.png.jpg", "a.png.jpg.jpg"]),
        (["b.png", "b.png.webp"], ["b.jpg", "b.png.webp.jpg"]),
    ],
)
def test_every_frame_has_its_own_file(names, expected):
    assert list(annotated_names(names).values()) == expected


def test_frames_that_differ_in_suffix_are_both_drawn(frames, gallery, pack, tmp_path):
    from PIL import Image

    Image.open(frames / "000.jpg").save(frames / "000.png")
    assert command(frames, gallery, pack, "--out", tmp_path / "out", "--no-tracks") == 0
    drawn = files_in(tmp_path / "out" / "annotated")
    assert drawn == ["000.jpg.jpg", "000.png.jpg", "001.jpg", "002.jpg", "004.jpg"]


def test_rerun_leaves_nothing_that_it_does_not_write(frames, gallery, pack, tmp_path):
    out = tmp_path / "out"
    assert command(frames, gallery, pack, "--out", out, "--no-tracks", "--json") == 0
    (out / "annotated" / "of an earlier version.jpg").write_bytes(b"")
    (out / ".annotated.part.mp4").write_bytes(b"of a run that was killed")
    assert command(frames, gallery, pack, "--out", out, "--no-tracks") == 0
    assert files_in(out / "annotated") == ["000.jpg", "001.jpg", "002.jpg", "004.jpg"]
    assert files_in(out)[0] != ".annotated.part.mp4" and not (out / "faces.jsonl").exists()
    assert command(frames, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 0
    assert files_in(out) == ["faces.csv", "frames/00000000.npz", "recognise.json"]


def test_photo_without_faces_in_a_rerun_has_no_image(frames, gallery, pack, tmp_path):
    out = tmp_path / "out"
    assert command(frames / "000.jpg", gallery, pack, "--out", out) == 0 and (out / "annotated.jpg").exists()
    assert command(frames / "000.jpg", gallery, pack, "--out", out, "--no-faces") == 0
    assert not (out / "annotated.jpg").exists()


class Video:
    """A source of grey frames; None is a broken one."""

    kind, fps, files = VIDEO, 10.0, ()

    def __init__(self, *levels):
        self.levels = levels

    def read(self):
        for number, level in enumerate(self.levels):
            yield Frame(number, "", None if level is None else np.full((64, 96, 3), level, np.uint8))


def read_back(file):
    cv2 = needs("cv2")
    capture, images = cv2.VideoCapture(str(file)), []
    while True:
        readable, image_HWC = capture.read()
        if not readable:
            return images
        images.append(image_HWC)


def test_broken_frame_of_a_video_repeats_the_one_before(tmp_path):
    file = write_annotated(tmp_path, Video(None, 200, None, 50), recognition(4, row(1)))
    images = read_back(file)
    middles = [float(image[:40, 80:].mean()) for image in images]
    np.testing.assert_allclose(middles, [128, 200, 200, 50], atol=8)
    # The box belongs to frame 1 alone.
    assert np.ptp(images[1][50:64]) > 60 and np.ptp(images[2][50:64]) < 60
    assert files_in(tmp_path) == ["annotated.mp4"]


def test_ctrl_c_while_drawing_leaves_no_half_video(tmp_path, monkeypatch):
    needs("cv2")
    released = []
    real = annotated._open_video

    def opened(*args):
        video = real(*args)

        class Watched:
            write, isOpened = video.write, video.isOpened

            def release(self):
                released.append(True)
                video.release()

        return Watched()

    def interrupted(image_HWC, rows):
        if rows:
            raise KeyboardInterrupt
        return image_HWC

    monkeypatch.setattr(annotated, "_open_video", opened)
    monkeypatch.setattr(annotated, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_annotated(tmp_path, Video(1, 2, 3), recognition(3, row(2)))
    assert released and files_in(tmp_path) == []


def test_nothing_is_drawn_where_no_frame_is_processed(tmp_path):
    assert write_annotated(tmp_path, Video(1, 2), recognition(0)) is None and files_in(tmp_path) == []


def label_of(name):
    """The pixels above the box that the label changes."""
    image_HWC = np.zeros((120, 400, 3), np.uint8)
    return draw(image_HWC, [row(name=name)])[:58]


@pytest.mark.parametrize("name", ["Zoë", "Łukasz", "Жанна", "Ελένη", "张伟", "שרה"])
def test_letters_beyond_ascii_are_drawn(name):
    cv2 = needs("cv2")
    if int(cv2.__version__.partition(".")[0]) < 5:
        pytest.skip("OpenCV below 5 draws ASCII alone")
    drawn = label_of(name)
    assert drawn.any() and (drawn != label_of("".join(letter if letter.isascii() else "?" for letter in name))).any()


@pytest.mark.parametrize("name", ["ann", "unknown", ""])
def test_label_is_readable_on_any_picture(name):
    """Stripes behind the letters are covered; a label at an edge stays within the image."""
    needs("cv2")
    black_HWC = np.zeros((120, 400, 3), np.uint8)
    stripes_HWC = black_HWC.copy()
    stripes_HWC[:, ::2] = 255
    labels = [draw(image_HWC, [row(name=name)])[48:56, 22:40] for image_HWC in (stripes_HWC, black_HWC)]
    assert (labels[0] == labels[1]).all()
    at_edge, inside = (draw(black_HWC, [row(name=name, x1=x1)])[:58].any(2).sum() for x1 in (395.0, 200.0))
    assert at_edge == inside


@pytest.mark.parametrize("name", ["ann", "new\nline", "caf\udce9", "x" * 500])
def test_any_name_can_be_drawn(name):
    needs("cv2")
    assert label_of(name).any()


def test_photo_is_drawn(tmp_path, photo_of):
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photo_of()))
    out = tmp_path / "out"
    assert write_annotated(out, FrameSource(tmp_path / "a.jpg"), recognition(1, row())) == out / "annotated.jpg"
    assert files_in(out) == ["annotated.jpg"]
