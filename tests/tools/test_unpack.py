"""Out of a .rec or .bin and back, and what is left out on the way."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import read_pairs
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records
from tools import make_bin, make_rec, unpack
from tools.lib import packing_filters


def same_set(one: str, other: str) -> None:
    first, second = open_records(one), open_records(other)
    assert first.labels.tolist() == second.labels.tolist()
    assert all(first.payload(row) == second.payload(row) for row in range(len(first)))


def test_unpacked_and_packed_again_is_the_same(tiny_run, tmp_path):
    assert unpack.main([tiny_run["rec"], str(tmp_path / "files")]) == 0
    assert make_rec.main([str(tmp_path / "files"), str(tmp_path / "again")]) == 0
    same_set(tiny_run["rec"], str(tmp_path / "again"))
    assert sorted(path.name for path in (tmp_path / "files/3").iterdir()) == [f"{n}.jpg" for n in range(19, 25)]
    assert unpack.main([tiny_run["rec"], str(tmp_path / "files")]) == 1, "not empty"


@pytest.mark.slow
def test_celeb240_comes_back_byte_for_byte(aird_data, tmp_path):
    assert unpack.main([str(aird_data / "celeb240"), str(tmp_path / "files")]) == 0
    assert make_rec.main([str(tmp_path / "files"), str(tmp_path / "again")]) == 0
    same_set(str(aird_data / "celeb240"), str(tmp_path / "again"))


def test_a_full_disk_names_the_file(tiny_run, tmp_path):
    command = f"ulimit -f 1; exec {sys.executable} {unpack.__file__} {tiny_run['rec']} {tmp_path / 'files'}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1 and f"while writing: '{tmp_path}/files/0/" in done.stderr


def test_pairs_come_back(pairs_file, tmp_path):
    assert unpack.main([pairs_file, str(tmp_path / "files")]) == 0
    listed = [str(tmp_path / "files/pairs.txt"), str(tmp_path / "again.bin"), "--root", str(tmp_path / "files")]
    assert make_bin.main(listed) == 0
    one, other = read_pairs(pairs_file), read_pairs(tmp_path / "again.bin")
    assert [bytes(image) for image in one.images] == [bytes(image) for image in other.images]
    assert one.same.tolist() == other.same.tolist()


@pytest.fixture
def noisy(tmp_path):
    """Four identities of three images, a copy of the first image under the second identity, a foreign image in the third, and a
    single image of a fifth. The brightest of three bands is the identity."""
    rng = np.random.default_rng(0)

    def image(label):
        levels = np.full((112, 112, 3), 60) + rng.integers(0, 20, (112, 112, 3))
        levels[28 * (label % 4) : 28 * (label % 4) + 28] += 150
        return encode_jpeg(levels.astype(np.uint8))

    items = [(label, image(label)) for label in range(4) for _ in range(3)] + [(4, image(0))]
    items.insert(6, (1, items[0][1]))
    items.insert(10, (2, image(0)))
    write_face_records(tmp_path / "noisy", items)
    return str(tmp_path / "noisy"), items


class Bands:
    """A teacher that embeds the means of four bands."""

    def embed(self, images_NHWC):
        return images_NHWC.reshape(len(images_NHWC), 4, -1).mean(2) - 60


def test_what_is_left_out_and_why(noisy, tmp_path, monkeypatch, capsys):
    source, items = noisy
    monkeypatch.setattr("aird_plugin.models.load.load_teacher", lambda path: Bands())
    (tmp_path / "list.txt").write_text(f"{source}/train.rec record 2\n")
    words = [str(tmp_path / "clean"), "--merge", source, "--drop", str(tmp_path / "list.txt"), "--drop-duplicates"]
    words += ["--teacher", "t.onnx", "--least-cosine", "0.5", "--least-images", "2", "--account", str(tmp_path / "account.csv")]
    assert make_rec.main(words) == 0
    with open(tmp_path / "account.csv", newline="") as file:
        rows = [(row["image"].split()[-1], row["label"], row["reason"]) for row in csv.DictReader(file)]
    assert rows == [
        ("2", "0", packing_filters.LISTED),
        ("7", "1", packing_filters.DUPLICATE),
        ("11", "2", packing_filters.UNLIKE),
        ("15", "4", packing_filters.FEW),
    ]
    kept = [payload for place, (_, payload) in enumerate(items) if place not in (1, 6, 10, 14)]
    records = open_records(str(tmp_path / "clean"))
    assert [records.payload(row) for row in range(len(records))] == kept and records.num_classes == 4
    text = capsys.readouterr().out
    assert "11 images taken; left out: listed: 1" in text and "duplicates: 1" in text


def test_a_line_that_names_nothing_is_refused(noisy, tmp_path, capsys):
    (tmp_path / "list.txt").write_text("record 99\n")
    assert make_rec.main([str(tmp_path / "clean"), "--merge", noisy[0], "--drop", str(tmp_path / "list.txt")]) == 1
    assert "list.txt names 1 images that are not there, first record 99; a name is like " in capsys.readouterr().err
    assert make_rec.main([str(tmp_path / "clean"), "--merge", noisy[0], "--least-cosine", "0.5"]) == 1
    assert "--least-cosine and --teacher belong together" in capsys.readouterr().err
