"""`aird align` with InsightFace's detector class, and with landmark files."""

import csv
import json
import os
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from aird_plugin.__main__ import main
from aird_plugin.alignment import photos as photos_module
from aird_plugin.alignment.crop import template
from aird_plugin.alignment.log import AlignmentLog, Row
from aird_plugin.data.image_files import find_identities
from aird_plugin.data.images import decode
from aird_plugin.data.unlabelled_faces import read_faces
from tests.skips import needs

needs("skimage")


def save(path, photo_HWC: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo_HWC).save(path, **options)


def table(out) -> list[dict]:
    with (out / "align.csv").open(newline="", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def crops(out) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg"))


def face_at(photo_HWC: np.ndarray, x: int, y: int) -> np.ndarray:
    """The 112 px square whose marker is at (x, y)."""
    return photo_HWC[y + 16 :, x + 16 :][:112, :112]


def near(crop_file, face_HWC: np.ndarray) -> bool:
    """Equal up to JPEG loss, 1.5 grey levels; a shift by one pixel makes 21."""
    return np.abs(decode(crop_file.read_bytes(), "") - face_HWC.astype(float)).mean() < 3


@pytest.fixture
def album(photo_of, tmp_path):
    """Photos of two identities, a photo without a face, a damaged file, a text file."""
    folder = tmp_path / "album"
    save(folder / "ann" / "one.png", photo_of(("large", 320, 160)))
    save(folder / "ann" / "two.png", photo_of(("small", 80, 80), ("large", 240, 240), ("small", 480, 480)))
    save(folder / "bob" / "far.png", photo_of(("small", 304, 304)))
    save(folder / "bob" / "view.png", photo_of())
    (folder / "bob" / "torn.jpg").write_bytes(b"\xff\xd8\xff no more")
    (folder / "bob" / "notes.txt").write_text("mine")
    return folder


def align(*words) -> int:
    return main(["align", *map(str, words)])


def test_photos_are_cropped_with_insightfaces_detector(album, detectors, photo_of, tmp_path, capsys):
    out = tmp_path / "out"
    assert align(album, "--out", out, "--detector", detectors / "det_markers.onnx") == 0
    assert crops(out) == ["ann/one.jpg", "ann/two.jpg", "bob/far.jpg"]
    assert near(out / "ann" / "one.jpg", face_at(photo_of(("large", 320, 160)), 320, 160))
    rows = table(out)
    assert [(row["source"], row["face"], row["faces"], row["status"], row["crop"], row["px"]) for row in rows] == [
        ("ann/one.png", "0", "1", "cropped", "ann/one.jpg", "112.0"),
        ("ann/two.png", "0", "3", "cropped", "ann/two.jpg", "112.0"),
        ("ann/two.png", "1", "3", "not chosen", "", "56.0"),
        ("ann/two.png", "2", "3", "not chosen", "", "56.0"),
        ("bob/far.png", "0", "1", "cropped", "bob/far.jpg", "56.0"),
        ("bob/torn.jpg", "", "0", "unreadable", "", ""),
        ("bob/view.png", "", "0", "no face", "", ""),
    ]
    np.testing.assert_allclose(
        [float(rows[0][f"{axis}{n}"]) for n in range(1, 6) for axis in "xy"], (template() + (336, 176)).ravel(), atol=0.01
    )
    assert float(rows[0]["score"]) > 0.9 and "bob/torn.jpg: 11 bytes that are no readable image" in rows[5]["note"]
    text = capsys.readouterr().out
    assert "5 photos: 3 faces cropped; 2 photos without a crop" in text and "1 no face, 1 unreadable, 2 not chosen" in text
    assert "median 112, 5% below 62, 5% above 112" in text
    assert [name for name, _ in find_identities(out)[0]] == ["ann", "bob"]
    assert read_faces(str(out)).images_NHWC.shape == (3, 112, 112, 3)


def test_px_is_measured_in_the_photo(photo_of, detectors, tmp_path):
    """The detector gets each photo at 640 px; the crop is made from the photo itself."""
    photo_HWC = photo_of(("large", 320, 160))
    save(tmp_path / "a" / "big.png", photo_HWC.repeat(3, 0).repeat(3, 1))
    save(tmp_path / "a" / "small.png", photo_HWC[::4, ::4])
    assert align(tmp_path / "a", "--out", tmp_path / "out", "--detector", detectors / "det_markers.onnx") == 0
    assert [float(row["px"]) for row in table(tmp_path / "out")] == pytest.approx([336, 28], rel=0.01)
    # Every pixel is repeated three times; the crop is sampled a third of a pixel off its center.
    assert near(tmp_path / "out" / "big.jpg", face_at(photo_HWC, 320, 160))


def test_photos_are_rotated_upright(photo_of, detectors, tmp_path):
    photo_HWC, exif = photo_of(("large", 320, 160)), Image.Exif()
    exif[0x112] = 6
    save(tmp_path / "a" / "lying.png", np.ascontiguousarray(np.rot90(photo_HWC)), exif=exif)
    assert align(tmp_path / "a", "--out", tmp_path / "out", "--detector", detectors / "det_markers.onnx") == 0
    assert near(tmp_path / "out" / "lying.jpg", face_at(photo_HWC, 320, 160))


def test_all_faces_and_minimum_size(album, detectors, tmp_path):
    words = [album, "--detector", detectors / "det_markers.onnx"]
    assert align(*words, "--out", tmp_path / "all", "--all") == 0
    assert crops(tmp_path / "all") == ["ann/one_0.jpg", "ann/two_0.jpg", "ann/two_1.jpg", "ann/two_2.jpg", "bob/far_0.jpg"]
    assert align(*words, "--out", tmp_path / "large", "--all", "--min-px", "57") == 0
    assert crops(tmp_path / "large") == ["ann/one_0.jpg", "ann/two_0.jpg"]
    assert [row["status"] for row in table(tmp_path / "large")].count("too small") == 3


def test_largest_detector_of_insightfaces_models_is_used(album, detectors, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert align(album, "--out", tmp_path / "out") == 1
    text = capsys.readouterr().err
    assert all(words in text for words in (str(tmp_path / ".insightface"), "buffalo_l has det_10g.onnx", "--points FILE"))
    assert not (tmp_path / "out").exists()
    pack = tmp_path / ".insightface" / "models" / "pack"
    pack.mkdir(parents=True)
    (pack / "det_less.onnx").write_bytes(b"smaller")
    (pack / "det_more.onnx").write_bytes((detectors / "det_markers.onnx").read_bytes())
    assert align(album, "--out", tmp_path / "out") == 0
    assert f"detector: {pack / 'det_more.onnx'}, photos resized to fit 640 px" in capsys.readouterr().out


def test_missing_insightface_names_the_extra(album, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "insightface.model_zoo", None)
    (tmp_path / "det.onnx").write_bytes(b"any")
    assert align(album, "--out", tmp_path / "out", "--detector", tmp_path / "det.onnx") == 1
    text = capsys.readouterr().err
    assert "pip install aird_plugin[insightface]" in text and "--points FILE" in text and not (tmp_path / "out").exists()


def points_file(tmp_path, *rows: tuple) -> str:
    lines = [",".join([name, *map(str, np.asarray(points_52).ravel())]) for name, points_52 in rows]
    (tmp_path / "points.csv").write_text("\n".join(lines))
    return str(tmp_path / "points.csv")


def test_landmark_file_needs_no_detector(album, photo_of, tmp_path, monkeypatch, capsys):
    """Neither InsightFace nor OpenCV is imported; mirrored, outside and degenerate landmarks are reported."""
    for module in ("insightface", "insightface.model_zoo", "cv2", "onnxruntime"):
        monkeypatch.setitem(sys.modules, module, None)
    valid_52 = template() + (336, 176)
    points = points_file(
        tmp_path,
        ("ann/one.png", valid_52),
        ("ann/two.png", valid_52[[1, 0, 2, 4, 3]]),
        ("ann/two.png", valid_52 + 900),
        ("bob/far.png", template() * 0 + 5),
        ("gone.png", valid_52),
    )
    assert align(album, "--out", tmp_path / "out", "--points", points) == 0
    assert crops(tmp_path / "out") == ["ann/one.jpg"]
    assert near(tmp_path / "out" / "ann" / "one.jpg", face_at(photo_of(("large", 320, 160)), 320, 160))
    notes = {row["note"] for row in table(tmp_path / "out") if row["status"] == "bad points"}
    assert len(notes) == 3 and all(any(words in note for note in notes) for words in ("mirrored", "outside", "are all at"))
    assert "lists 3 of 5 photos" in capsys.readouterr().out


def test_second_run_resumes(album, detectors, photo_of, tmp_path, capsys):
    """Processed photos are skipped, even where the user removed a crop; a repaired photo and a new one are cropped."""
    words, out = [album, "--out", tmp_path / "out", "--detector", detectors / "det_markers.onnx"], tmp_path / "out"
    assert align(*words) == 0
    before = (out / "bob" / "far.jpg").stat().st_mtime_ns
    (out / "ann" / "one.jpg").unlink()
    save(album / "bob" / "torn.jpg", photo_of(("large", 320, 160)), quality=95)
    save(album / "cat" / "new.png", photo_of(("large", 320, 160)))
    capsys.readouterr()
    assert align(*words) == 0
    text = capsys.readouterr().out
    assert "4 of 6 photos were processed before" in text and "6 photos: 5 faces cropped; 1 photo without a crop" in text
    assert crops(out) == ["ann/two.jpg", "bob/far.jpg", "bob/torn.jpg", "cat/new.jpg"]
    assert (out / "bob" / "far.jpg").stat().st_mtime_ns == before
    assert len({(row["source"], row["face"]) for row in table(out)}) == len(table(out)) == 8
    assert align(*words) == 0 and "6 of 6 photos" in capsys.readouterr().out
    assert align(*words, "--min-px", "9") == 1
    assert "has other settings: --min-px was 1, is 9" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [1, 20, 60, 150])
def test_killed_run_leaves_no_partial_file(cut, album, detectors, tmp_path, monkeypatch):
    """Killed while writing a crop, with the end of the table cut off as well. The next run completes it."""
    words, out = [album, "--out", tmp_path / "out", "--detector", detectors / "det_markers.onnx"], tmp_path / "out"
    write = photos_module.write_atomically
    monkeypatch.setattr(photos_module, "write_atomically", lambda path, content: stop_at_far(write, path, content))
    assert align(*words) == 130
    assert crops(out) == ["ann/one.jpg", "ann/two.jpg"] and not list(out.rglob("*.part"))
    content = (out / "align.csv").read_bytes()
    (out / "align.csv").write_bytes(content[:-cut])
    monkeypatch.setattr(photos_module, "write_atomically", write)
    assert align(*words) == 0
    assert crops(out) == ["ann/one.jpg", "ann/two.jpg", "bob/far.jpg"]
    assert [row["source"] for row in table(out)] == sorted(row["source"] for row in table(out)) and len(table(out)) == 7


def stop_at_far(write, path, content) -> None:
    """Write, but interrupt the write of far.jpg in its middle."""

    def half(file):
        file.write(content[:100])
        raise KeyboardInterrupt

    write(path, half if path.name == "far.jpg" else content)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}/nowhere", "--out", "{tmp}/out"], "no folder of photos at"),
        (["{tmp}/empty", "--out", "{tmp}/out"], "has no photo (.jpg, .png, .bmp, .webp, .tif, .ppm, .pgm or .gif)"),
        (["{tmp}/album", "--out", "{tmp}/album/crops"], "the next run would read the crops as photos"),
        (["{tmp}/album", "--out", "{tmp}/album"], "the next run would read the crops as photos"),
        (["{tmp}/album", "--out", "{tmp}/full", "--points", "{tmp}/points.csv"], "exists and holds no align.json"),
        (["{tmp}/album", "--out", "{tmp}/out", "--points", "a", "--detector", "b"], "exclude each other"),
        (
            ["{tmp}/album", "--out", "{tmp}/out", "--points", "{tmp}/points.csv", "--score", "0.9"],
            "are a detector's",
        ),
        (["{tmp}/album", "--out", "{tmp}/out", "--points", "{tmp}/points.csv", "--det-size", "640"], "leave them out"),
        (["{tmp}/album", "--out", "{tmp}/out", "--points", "{tmp}/other.csv"], "it has 'x/y.jpg', the folder 'ann/one.png'"),
        (["{tmp}/album", "--out", "{tmp}/out", "--points", "{tmp}/none.csv"], "none.csv"),
        (["{tmp}/album", "--out", "{tmp}/out", "--detector", "{tmp}/none.onnx"], "none.onnx: no such .onnx file"),
        (["{tmp}/album", "--out", "{tmp}/out", "--detector", "{tmp}/bad.onnx"], "bad.onnx is no model that onnxruntime can load"),
        (["{tmp}/album", "--out", "{tmp}/out", "--detector", "{detectors}/boxes.onnx"], "detects boxes without landmarks"),
        (["{tmp}/album", "--out", "{tmp}/out", "--score", "1.5"], "--score must be above 0 and below 1, got 1.5"),
        (["{tmp}/album", "--out", "{tmp}/out", "--score", "nan"], "--score must be above 0 and below 1, got nan"),
        (["{tmp}/album", "--out", "{tmp}/out", "--det-size", "600"], "a multiple of 32"),
        (["{tmp}/album", "--out", "{tmp}/out", "--min-px", "0"], "--min-px must be 1 or more, got 0"),
        (["{tmp}/album", "--out", "{tmp}/out", "--workers", "0"], "--workers must be 1 or more, got 0"),
    ],
)
def test_invalid_input_is_rejected_before_anything_is_written(words, message, album, detectors, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("mine")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    points_file(tmp_path, ("x/y.jpg", template()))
    (tmp_path / "points.csv").rename(tmp_path / "other.csv")
    points_file(tmp_path, ("ann/one.png", template()))
    assert align(*(word.format(tmp=tmp_path, detectors=detectors) for word in words)) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and message in text and text.count("\n") == 1
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("align.*"))


def test_recognition_model_as_detector_is_rejected(album, detectors, tmp_path, capsys):
    import torch

    from aird_plugin.export.graph import write_onnx
    from aird_plugin.models import build

    torch.manual_seed(0)
    write_onnx(build("native112_0.05m", 8), tmp_path / "w600k.onnx", {})
    assert align(album, "--out", tmp_path / "out", "--detector", tmp_path / "w600k.onnx") == 1
    assert "InsightFace loads it as ArcFaceONNX, not as a face detector" in capsys.readouterr().err


def test_most_photos_without_a_face_give_a_hint(photo_of, detectors, tmp_path, capsys):
    for number, faces in enumerate(([], [], [("large", 320, 160)])):
        save(tmp_path / "a" / f"{number}.png", photo_of(*faces))
    words = [tmp_path / "a", "--detector", detectors / "det_markers.onnx"]
    assert align(*words, "--out", tmp_path / "out") == 0
    assert "at --det-size 640: it misses faces that fill a photo" in capsys.readouterr().out
    (tmp_path / "a" / "0.png").unlink()
    assert align(*words, "--out", tmp_path / "other") == 0
    assert "--det-size" not in capsys.readouterr().out


def test_no_cropped_face_is_an_error(album, tmp_path, capsys):
    mirrored = (111, 0) - template() * (1, -1)
    assert align(album, "--out", tmp_path / "out", "--points", points_file(tmp_path, ("ann/one.png", mirrored))) == 1
    text = capsys.readouterr().err
    assert "no face was cropped. 5 photos: 0 faces cropped" in text and "3 no face, 1 unreadable, 1 bad points" in text


def test_unusual_names_and_sizes_are_accepted(detectors, photo_of, tmp_path):
    """Names that are not UTF-8, or have commas, quotes and line breaks; a photo one pixel high; a single pixel."""
    folder = tmp_path / "odd"
    photo_HWC = photo_of(("large", 320, 160))
    names = ['a,"b".png', "c\nd.png", "g\rh.png", os.fsdecode(b"e\xff.png"), "folder/f.PNG"]
    for name in names:
        save(folder / name, photo_HWC, format="PNG")
    save(folder / "thread.png", np.zeros((1, 3000, 3), np.uint8))
    save(folder / "pixel.png", np.zeros((1, 1, 3), np.uint8))
    (folder / "folder.jpg").mkdir()
    words = [folder, "--out", tmp_path / "out", "--detector", detectors / "det_markers.onnx"]
    for _ in range(2):
        assert align(*words) == 0
        assert len(crops(tmp_path / "out")) == 5
        assert {row["source"]: row["status"] for row in table(tmp_path / "out")} == {
            **dict.fromkeys(names, "cropped"),
            "thread.png": "no face",
            "pixel.png": "no face",
        }


def test_formats_of_cameras_and_phones(photo_of, tmp_path, capsys):
    """16 bits, CMYK, transparency and several frames are read as 8-bit RGB of the first frame; HEIC is named for what it is."""
    folder, photo_HWC = tmp_path / "album", photo_of(("large", 320, 160))
    photo_HWC[160:176, 320:336] = 90  # the marker, so that the photo is grey
    picture, other = Image.fromarray(photo_HWC), Image.new("RGB", (640, 640), "red")
    folder.mkdir()
    Image.fromarray(photo_HWC[:, :, 0].astype(np.uint16) * 257).save(folder / "deep.png")
    picture.convert("CMYK").save(folder / "print.jpg", quality=95)
    clear = picture.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "clear.png")
    for suffix in ("gif", "webp", "png"):
        picture.save(folder / f"moving_{suffix}.{suffix}", save_all=True, append_images=[other], lossless=True)
    names = sorted(path.name for path in folder.iterdir())
    heic = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(99)
    (folder / "phone.jpg").write_bytes(heic)
    (folder / "phone.heic").write_bytes(heic)
    points = points_file(tmp_path, *((name, template() + (336, 176)) for name in (*names, "phone.jpg")))
    assert align(folder, "--out", tmp_path / "out", "--points", points) == 0
    assert len(crops(tmp_path / "out")) == len(names) == 6
    for name in names:
        # The palette of a GIF has 256 colours, all of the grey levels; CMYK is rounded.
        assert near((tmp_path / "out" / name).with_suffix(".jpg"), face_at(photo_HWC, 320, 160)), name
    (bad,) = (row for row in table(tmp_path / "out") if row["status"] == "unreadable")
    assert "phone.jpg" in bad["source"] and "but HEIC or AVIF; convert it to JPEG first" in bad["note"]
    assert "files of a format that is not read: 1 (phone.heic)" in " ".join(capsys.readouterr())


def test_picked_face_and_folders_of_before(album, detectors, tmp_path, capsys):
    """A folder of a version without --pick goes on with the rule that it had."""
    words, out = [album, "--out", tmp_path / "out", "--detector", detectors / "det_markers.onnx"], tmp_path / "out"
    assert align(*words) == 0
    settings = json.loads((out / "align.json").read_text())
    assert settings.pop("--pick") == "prominent"
    (out / "align.json").write_text(json.dumps(settings))
    assert align(*words) == 0
    assert align(*words, "--pick", "central") == 1
    assert "has other settings: --pick was 'prominent', is 'central'" in capsys.readouterr().err


def test_another_folder_of_the_same_name_is_no_second_run(album, tmp_path, capsys):
    """Its photos have the names of photos that were processed; those of a folder that was moved are the same ones."""
    points = points_file(tmp_path, ("ann/one.png", template() + (336, 176)))
    other = tmp_path / "2024" / album.name
    shutil.copytree(album, other)
    words = ["--out", tmp_path / "out", "--points", points]
    assert align(album, *words) == 0
    assert align(other, *words) == 1
    assert f"has the crops of {album}, and {other} is another folder of the same name" in capsys.readouterr().err
    (tmp_path / "link").symlink_to(album.parent)
    assert align(tmp_path / "link" / album.name, *words) == 0
    shutil.rmtree(album)
    assert align(other, *words) == 0


def test_two_commands_do_not_write_one_folder(album, photo_of, tmp_path, capsys):
    """The second would write align.csv anew, and the first go on in the file of before, which no folder holds."""
    points = points_file(tmp_path, ("ann/one.png", template() + (336, 176)))
    words = [album, "--out", tmp_path / "out", "--points", points]
    assert align(*words) == 0
    with AlignmentLog(tmp_path / "out", json.loads((tmp_path / "out" / "align.json").read_text())):
        capsys.readouterr()
        assert align(*words) == 1
        assert "another process writes" in capsys.readouterr().err
    assert align(*words) == 0
    assert not list((tmp_path / "out").glob("*.lock"))


def test_table_of_many_photos_is_read_in_little_memory(tmp_path):
    """Row by row: of a photo only its name and a flag stay."""
    with AlignmentLog(tmp_path / "out", {}) as log:
        for number in range(3000):
            log.write([Row(f"{number:06d}.jpg", "0", "1", "cropped", f"{number}.jpg", "0.9", "50.0", ("1.00",) * 10)])
    tracemalloc.start()
    try:
        again = AlignmentLog(tmp_path / "out", {})
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(again.done) == 3000 and len(again.px) == 3000
    assert kept / 3000 < 300 and peak / 3000 < 500


def test_two_photos_of_one_name_are_rejected(album, photo_of, tmp_path, capsys):
    save(album / "ann" / "one.jpg", photo_of())
    assert align(album, "--out", tmp_path / "out") == 1
    assert "one.jpg and" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_damaged_settings_file_is_rejected(album, tmp_path, capsys):
    points = points_file(tmp_path, ("ann/one.png", template() + (336, 176)))
    assert align(album, "--out", tmp_path / "out", "--points", points) == 0
    assert json.loads((tmp_path / "out" / "align.json").read_text())["folder"] == "album"
    (tmp_path / "out" / "align.json").write_text("{")
    assert align(album, "--out", tmp_path / "out", "--points", points) == 1
    assert "align.json is damaged" in capsys.readouterr().err
