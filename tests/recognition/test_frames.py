"""What is read from photos, folders, animations and videos, and what is said of frames that cannot be read."""

import os
import re
import shutil
import zlib
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.images import encode_jpeg
from aird_plugin.recognition.frame_store import FrameFaces, FrameStore
from aird_plugin.recognition.frames import FOLDER, GIVE_UP_AFTER, PHOTO, VIDEO, FrameSource
from tests.recognition.commands import command, table
from tests.skips import needs

LEVELS = (0, 80, 160, 240)


def test_replaced_input_of_the_same_size_is_another_input(frames, gallery, pack, tmp_path, capsys):
    for name in ("000.jpg", "."):
        given = frames / name
        out = tmp_path / f"out of {name}"
        assert command(given, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 0
        file = frames / "000.jpg"
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
        assert command(given, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 1
        assert "names, sizes and times of the input files was" in capsys.readouterr().err


def test_two_frames_that_swap_their_names_are_another_input(tmp_path):
    for name, content in (("a.jpg", b"1"), ("b.jpg", b"22")):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, ns=(0, 0))
    before = FrameSource(tmp_path).describe()
    (tmp_path / "a.jpg").rename(tmp_path / "c.jpg")
    (tmp_path / "b.jpg").rename(tmp_path / "a.jpg")
    (tmp_path / "c.jpg").rename(tmp_path / "b.jpg")
    assert FrameSource(tmp_path).describe() != before


def test_frames_follow_the_numbers_in_their_names(tmp_path):
    names = ["a/9.jpg", "a/10.jpg", "a b/1.jpg", "frame_1.jpg", "frame_2.jpg", "frame_2b.jpg", "frame_010.jpg", "frame_100.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    source = FrameSource(tmp_path)
    assert [source.name_of(file) for file in source.files] == names
    assert [frame.name for frame in source.read(3)] == names[3:]


def test_output_folder_of_an_earlier_version_resumes(frames, gallery, pack, tmp_path):
    out = tmp_path / "out"
    assert command(frames, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 0
    settings = (out / "recognise.json").read_text()
    earlier = re.sub(r'\n "names, sizes and times of the input files": "\w+",', "", settings)
    assert earlier != settings
    (out / "recognise.json").write_text(earlier)
    assert command(frames, gallery, pack, "--out", out, "--no-tracks", "--no-faces") == 0


def test_unreadable_photo_is_an_error_with_its_reason(gallery, pack, tmp_path, capsys):
    photo = tmp_path / "cut.jpg"
    photo.write_bytes(b"\xff\xd8\xff broken")
    assert command(photo, gallery, pack, "--out", tmp_path / "out") == 1
    assert f"error: {photo}: 10 bytes that are no readable image" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_folder_without_a_readable_frame_is_an_error_with_a_reason(gallery, pack, tmp_path, capsys):
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in ("1.jpg", "2.jpg"):
        (folder / name).write_bytes(b"nothing")
    assert command(folder, gallery, pack, "--out", tmp_path / "out", "--no-tracks") == 1
    error = capsys.readouterr().err
    assert f"error: no frame of {folder} can be read: 1.jpg: 7 bytes that are no readable image" in error
    assert not (tmp_path / "out" / "faces.csv").exists()


def test_broken_frames_are_named_with_reasons_also_in_a_rerun(frames, gallery, pack, tmp_path, capsys):
    for n in range(10, 15):
        (frames / f"{n:03d}.jpg").write_bytes(b"nothing")
    for _ in range(2):
        assert command(frames, gallery, pack, "--out", tmp_path / "out", "--no-tracks", "--no-faces") == 0
        output = capsys.readouterr()
        lines = [line for line in output.err.splitlines() if line.startswith("broken: ")]
        assert [line.split(":")[1] for line in lines] == [" 003.jpg", " 010.jpg", " 011.jpg", " and 3 more"]
        assert "10 bytes that are no readable image" in lines[0] and "6 of them broken" in output.out


def test_store_keeps_why_a_frame_is_broken(tmp_path):
    store = FrameStore(tmp_path)
    store.append(FrameFaces(0, "a.jpg", True, [], "a.jpg: no image"))
    store.flush()
    assert FrameStore(tmp_path).frames == store.frames


def animation(path, levels=LEVELS, **options):
    """Grey frames of 64x48 px at 5 frames per second."""
    images = [Image.fromarray(np.full((48, 64, 3), level, np.uint8)) for level in levels]
    images[0].save(path, save_all=True, append_images=images[1:], duration=200, **options)
    return path


@pytest.mark.parametrize(("name", "options"), [("a.gif", {}), ("a.webp", {"lossless": True}), ("a.png", {})])
def test_animation_is_read_as_a_video(tmp_path, name, options):
    source = FrameSource(animation(tmp_path / name, **options))
    assert (source.kind, source.total, source.fps) == (VIDEO, 4, 5.0)
    images = [frame.image_HWC for frame in source.read()]
    assert [image.shape for image in images] == [(48, 64, 3)] * 4
    np.testing.assert_allclose([image.mean() for image in images], LEVELS, atol=2)
    rest = list(source.read(2))
    assert [frame.number for frame in rest] == [2, 3]
    np.testing.assert_array_equal(rest[0].image_HWC, images[2])


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_image_of_one_frame_is_a_photo(tmp_path, name):
    source = FrameSource(animation(tmp_path / name, LEVELS[:1]))
    assert (source.kind, source.total) == (PHOTO, 1)
    assert len(list(source.read())) == 1


def test_animation_that_is_cut_ends_in_broken_frames(tmp_path):
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(4)]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:])
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    frames = list(FrameSource(tmp_path / "a.png").read())
    assert len(frames) == 4 and frames[0].image_HWC is not None and frames[3].image_HWC is None and frames[3].reason


def test_animation_that_states_a_billion_frames_ends(tmp_path):
    content = animation(tmp_path / "a.png").read_bytes()
    at = content.index(b"acTL")
    chunk = b"acTL" + (1 << 30).to_bytes(4, "big") + content[at + 8 : at + 12]
    (tmp_path / "a.png").write_bytes(content[:at] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + content[at + 16 :])
    frames = list(islice(FrameSource(tmp_path / "a.png").read(), 1000))
    assert len(frames) == 4 + GIVE_UP_AFTER and frames[3].image_HWC is not None


def test_animation_is_recognised_and_drawn_as_a_video(photo_of, gallery, pack, tmp_path):
    cv2 = needs("cv2")
    needs("trackers")
    images = [Image.fromarray(photo_of(("large", 16 * n, 0))) for n in range(3)]
    images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], lossless=True)
    assert command(tmp_path / "a.webp", gallery, pack, "--out", tmp_path / "out") == 0
    assert [(row["frame"], row["track"], row["name"]) for row in table(tmp_path / "out")] == [
        (str(n), "0", "ann") for n in range(3)
    ]
    assert cv2.VideoCapture(str(tmp_path / "out" / "annotated.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3


def test_animation_in_a_folder_is_the_frame_of_its_first_image(tmp_path, photo_of):
    animation(tmp_path / "a.gif")
    (tmp_path / "b.jpg").write_bytes(encode_jpeg(photo_of()))
    source = FrameSource(tmp_path)
    assert source.kind == FOLDER and [frame.name for frame in source.read()] == ["a.gif", "b.jpg"]


def test_broken_frame_of_a_video_has_a_reason(photo_of, tmp_path):
    cv2 = needs("cv2")
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (640, 640))
    for n in range(4):
        video.write(np.ascontiguousarray(photo_of(("large", 16 * n, 0))[..., ::-1]))
    video.release()
    shutil.copy(tmp_path / "v.avi", tmp_path / "cut.avi")
    os.truncate(tmp_path / "cut.avi", (tmp_path / "v.avi").stat().st_size // 2)
    broken = [frame for frame in FrameSource(tmp_path / "cut.avi").read() if frame.image_HWC is None]
    assert broken and broken[0].reason == f"frame {broken[0].number}: OpenCV cannot decode it"
