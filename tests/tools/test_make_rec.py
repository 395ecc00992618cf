"""Folders and synthetic identities -> record files."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.images import decode, encode_jpeg
from aird_plugin.data.recordio.face_records import FaceRecords
from aird_plugin.data.records import decode_face, open_records
from aird_plugin.data.synthetic.draw import draw_person

SCRIPT = Path(__file__).parents[2] / "tools" / "make_rec.py"


@pytest.fixture(scope="module")
def make_rec():
    spec = importlib.util.spec_from_file_location("make_rec", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def folder(tmp_path, noise_faces):
    """Three identities: one JPEG and one PNG; one PNG and a text file; one WebP."""
    images = [Image.fromarray(array) for array in noise_faces(4)]
    root = tmp_path / "identities"
    for name, image in zip(("anna/1.jpg", "anna/2.PNG", "bert/1.png", "cleo/x.webp"), images, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name, lossless=True)
    (root / "bert" / "notes.txt").write_text("not an image")
    return root


def test_folder_to_records(make_rec, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert make_rec([str(folder), str(out)]) == 0
    records = FaceRecords(out / "train.rec")
    assert records.labels.tolist() == [0, 0, 1, 2]
    assert records.payload(0) == (folder / "anna" / "1.jpg").read_bytes()
    for row, file in ((1, "anna/2.PNG"), (2, "bert/1.png"), (3, "cleo/x.webp")):
        assert records.payload(row) == encode_jpeg(decode((folder / file).read_bytes(), ""))
    assert (out / "labels.txt").read_text() == "anna\nbert\ncleo\n"
    assert (out / "property").read_text() == "3,112,112\n"
    assert "num_classes=3 num_image=4" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["labels.txt", "property", "train.idx", "train.rec"]


def test_bad_file_stops_or_is_skipped(make_rec, folder, tmp_path, capsys):
    out = tmp_path / "out"
    (folder / "bert" / "1.png").write_bytes(b"broken")
    assert make_rec([str(folder), str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "bert/1.png" in error and "--skip-bad" in error and error.count("\n") == 1
    assert not list(out.iterdir())
    assert make_rec([str(folder), str(out), "--skip-bad"]) == 0
    out_text = capsys.readouterr().out
    assert "1 file skipped" in out_text and "bert/1.png: 6 bytes that are no readable image" in out_text
    assert FaceRecords(out / "train.rec").labels.tolist() == [0, 0, 1]
    assert (out / "labels.txt").read_text() == "anna\ncleo\n"


def test_other_sizes_need_an_option(make_rec, folder, tmp_path, capsys):
    out = tmp_path / "out"
    Image.open(folder / "bert" / "1.png").resize((64, 64)).save(folder / "bert" / "1.png")
    assert make_rec([str(folder), str(out)]) == 1
    assert "1.png has 64x64 pixels, expected 112x112; --resize" in capsys.readouterr().err
    assert make_rec([str(folder), "--resize", str(out)]) == 0
    assert decode(FaceRecords(out / "train.rec").payload(2), "").shape == (112, 112, 3)
    assert make_rec([str(folder), str(out), "--size", "64", "--resize"]) == 0
    assert decode(FaceRecords(out / "train.rec").payload(0), "").shape == (64, 64, 3)
    assert (out / "property").read_text() == "3,64,64\n"


def test_folders_without_identities(make_rec, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for name, why in (("empty", "contains no IDENTITY"), ("none", "is not a folder")):
        assert make_rec([str(tmp_path / name), str(tmp_path / "out")]) == 1
        assert why in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_synthetic_identities(make_rec, tmp_path, workers):
    arguments = ["--people", "3", "--faces-per-person", "2", "--seed", "5", "--first-person", "40", "--workers", workers]
    assert make_rec(["--synthetic", str(tmp_path), *arguments]) == 0
    records = FaceRecords(tmp_path / "train.rec")
    assert records.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for row in range(6):
        assert records.payload(row) == encode_jpeg(draw_person(40 + row // 2, row % 2, 5))
    assert (tmp_path / "labels.txt").read_text() == "synthetic 40\nsynthetic 41\nsynthetic 42\n"


def test_impossible_requests_are_rejected(make_rec, folder, tmp_path, capsys):
    for arguments in ([str(folder), str(tmp_path), "--synthetic"], [str(tmp_path)]):
        with pytest.raises(SystemExit) as stop:
            make_rec(arguments)
        assert stop.value.code == 2
    assert make_rec(["--synthetic", str(tmp_path / "out"), "--people", "0"]) == 1
    assert "need at least one identity and one image, got 0 identities" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("FOLDER OUT --drop-duplicates", "--drop-duplicates has no effect here; OUT --merge FOLDER has it for a folder too"),
        (
            "FOLDER OUT --least-images 2 --identity-map joins.csv",
            "--identity-map, --least-images has no effect here; OUT",
        ),
        ("OUT --merge FOLDER --resize --size 64", "--size, --resize has no effect here"),
        ("--synthetic OUT --skip-bad --account list.csv", "--skip-bad, --account has no effect here"),
        ("FOLDER OUT --people 5 --seed 1", "--people, --seed has no effect here\n"),
    ],
)
def test_options_of_another_kind_of_source_are_refused(make_rec, folder, tmp_path, capsys, arguments, message):
    places = {"FOLDER": str(folder), "OUT": str(tmp_path / "out")}
    with pytest.raises(SystemExit):
        make_rec([places.get(word, word) for word in arguments.split()])
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_runs_as_a_command(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(SCRIPT.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    assert "4 images of 3 identities" in done.stdout
    assert np.bincount(FaceRecords(tmp_path / "out" / "train.rec").labels).tolist() == [2, 1, 1]


def test_what_is_left_out_is_counted_and_named_in_the_last_line(make_rec, folder, tmp_path, capsys):
    """Loose images, folders below folders and other formats were dropped without a word."""
    image = (folder / "anna" / "1.jpg").read_bytes()
    for name in ("loose.jpg", "dan/a/1.jpg", "dan/b/1.jpg", "@eaDir/1.jpg", "anna/3.heic"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image)
    Image.open(folder / "bert" / "1.png").save(folder / "bert" / "2.tif")
    (folder / "cleo" / "x.webp").write_bytes(b"broken")
    assert make_rec([str(folder), str(tmp_path / "out"), "--skip-bad"]) == 0
    assert FaceRecords(tmp_path / "out" / "train.rec").labels.tolist() == [0, 0, 1, 1]
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"{folder}: 4 images taken; left out: hidden or system folders with images: 1 (@eaDir); "
        "files of a format that is not read: 1 (anna/3.heic); images in several folders below one without images, so that their "
        "identities are ambiguous: 2 (dan/a/1.jpg, dan/b/1.jpg); images beside the identities' folders: 1 (loose.jpg); "
        "unreadable images: 1 (cleo/x.webp)"
    )


def test_a_clean_folder_ends_as_before(make_rec, folder, tmp_path, capsys):
    assert make_rec([str(folder), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("for a recipe: rec=")


def test_formats_that_record_files_do_not_hold_become_png_where_sets_are_merged(make_rec, folder, noise_faces, tmp_path):
    """A run reads TIFF, PPM and GIF from folders, but not from record files, where they would be unreadable images."""
    for suffix, image in zip(("tif", "ppm", "gif"), noise_faces(3), strict=True):
        Image.fromarray(image).save(folder / "anna" / f"3.{suffix}")
    assert make_rec([str(tmp_path / "out"), "--merge", str(folder)]) == 0
    of_folder, packed = open_records(str(folder)), open_records(str(tmp_path / "out"))
    assert packed.labels.tolist() == of_folder.labels.tolist() and len(packed) == 7
    for row in range(7):
        assert np.array_equal(decode_face(packed, row), decode_face(of_folder, row))
        is_kept = of_folder.files[row].suffix in (".jpg", ".png", ".PNG", ".webp")
        assert (packed.payload(row) == of_folder.payload(row)) == is_kept


@pytest.fixture
def odd_names(folder):
    """A line break in the name of one identity, and a byte that is not UTF-8 in that of another."""
    (folder / "bert").rename(folder / "be\nrt")
    try:
        (folder / "cleo").rename(folder / os.fsdecode(b"cl\xe9o"))
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    return folder


def test_a_line_of_the_labels_is_an_identity_whatever_its_name(odd_names, tmp_path):
    out = tmp_path / "out"
    (odd_names / os.fsdecode(b"cl\xe9o") / "broken.jpg").write_bytes(b"broken")
    done = subprocess.run(
        [sys.executable, SCRIPT, odd_names, out, "--skip-bad"],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )
    assert done.returncode == 0, done.stderr
    assert b"1 file skipped" in done.stdout
    assert (out / "labels.txt").read_bytes() == b"anna\nbe\\nrt\ncl\xe9o\n"
    assert FaceRecords(out / "train.rec").labels.tolist() == [0, 0, 1, 2]


def test_names_of_left_out_images_are_read_back_as_they_were_written(make_rec, odd_names, tmp_path):
    for name in (b"cl\xe9o/y.webp", b"cl\xe9o/z\r.webp"):
        (odd_names / os.fsdecode(name)).write_bytes((odd_names / os.fsdecode(b"cl\xe9o/x.webp")).read_bytes())
    account = tmp_path / "account.csv"
    words = ["--merge", str(odd_names), "--least-images", "1"]
    assert make_rec([str(tmp_path / "a"), *words, "--drop-duplicates", "--account", str(account)]) == 0
    assert make_rec([str(tmp_path / "b"), *words, "--drop", str(account)]) == 0
    rec = [(tmp_path / name / "train.rec").read_bytes() for name in "ab"]
    assert rec[0] == rec[1] and len(FaceRecords(tmp_path / "a" / "train.rec")) == 4
