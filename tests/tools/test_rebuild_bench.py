"""From copies of LFW and CelebA to the files of docs/benchmarks, here with noise photos."""

import random
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from aird_plugin.alignment.crop import template
from aird_plugin.data.images import decode
from aird_plugin.data.pairs import read_pairs
from aird_plugin.data.recordio.face_records import FaceRecords
from tools import rebuild_bench
from tools.lib import bench_crops, celeba

NAMES, TESTED, PHOTOS = [f"P_{number:02d}" for number in range(30)], 12, 5
OFFSET = (20, 30)
WITHOUT_A_FACE = "P_00/P_00_0002.jpg"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.setattr(celeba, "CELEBRITIES", 3)
    return rebuild_bench


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """The originals as a user has them; every face lies at OFFSET, so that the crops are known to the pixel."""
    folder = tmp_path_factory.mktemp("originals")
    rng = np.random.default_rng(0)
    points = [f"{value:.4f}" for value in (template() + OFFSET).ravel()]
    lfw = [f"{name}/{name}_{number:04d}.jpg" for name in NAMES for number in range(1, PHOTOS + 1)]
    celeba = [f"{number:06d}.jpg" for number in range(1, 100)]
    for root, photos in (("lfw", lfw), ("celeba", celeba)):
        for photo in photos:
            (folder / root / photo).parent.mkdir(parents=True, exist_ok=True)
            coarse = rng.integers(0, 256, (19, 19), np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(coarse).save(folder / root / photo, quality=95)
    (folder / "lfw.csv").write_text("".join(",".join([photo, *points]) + "\n" for photo in lfw if photo != WITHOUT_A_FACE))
    (folder / "celeba.txt").write_text("99\nheading\n" + "".join(" ".join([photo, *points]) + "\n" for photo in celeba))
    # Five identities of 15 to 31 photos; the sixth has three.
    owner = [identity for identity, count in ((7, 15), (2, 31), (9, 16), (4, 15), (5, 19), (1, 3)) for _ in range(count)]
    (folder / "identities.txt").write_text(
        "".join(f"{photo} {identity}\n" for photo, identity in zip(celeba, owner, strict=True))
    )
    for name, count, names in (("pairs.txt", 6000, NAMES), ("dev.txt", 1000, NAMES)):
        draw, lines = random.Random(0), [f"{count}"]
        for number in range(count):
            a, b = draw.sample(names[:TESTED] if number >= count - 1200 and name == "pairs.txt" else names[TESTED:], 2)
            i, j = draw.sample(range(1, PHOTOS + 1), 2)
            lines.append(f"{a}\t{i}\t{j}" if number // (count // 20) % 2 == 0 else f"{a}\t{i}\t{b}\t{j}")
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def arguments(originals, out, *parts):
    lfw = ["--lfw", "lfw", "--pairs", "pairs.txt", "--dev-test", "dev.txt", "--lfw-points", "lfw.csv"]
    celeba = ["--celeba", "celeba", "--identities", "identities.txt", "--celeba-points", "celeba.txt"]
    options = (lfw if "lfw" in parts else []) + (celeba if "celeba" in parts else [])
    return [str(out), *(word if word.startswith("--") else str(originals / word) for word in options)]


@pytest.fixture
def built(tool, originals, tmp_path):
    assert tool.main(arguments(originals, tmp_path / "out", "lfw", "celeba")) == 0
    return tmp_path / "out"


def pixels(originals, photo):
    x, y = OFFSET
    return np.array(Image.open(originals / photo))[y : y + 112, x : x + 112].astype(int)


def test_pairs_follow_the_lists(tool, originals, built):
    official = [line.split("\t") for line in (originals / "pairs.txt").read_text().splitlines()[1:]]
    pairs = read_pairs(built / "lfw" / "lfw.bin")
    assert pairs.same.tolist() == [len(line) == 3 for line in official]
    for index in range(0, 6000, 571):
        name, number = official[index][:2]
        image = decode(pairs.images[2 * index], "image")[..., 0].astype(int)
        assert np.abs(image - pixels(originals, f"lfw/{name}/{name}_{int(number):04d}.jpg")).mean() < 4
    counts = {name: len(read_pairs(built / "lfw" / f"{name}.bin").same) for name in tool.OUR_LISTS}
    assert counts == {"lfw": 6000, "lfw_folds9_10": 1200, "lfw_view1": 1000, "lfw_split": 2 * TESTED * 10}
    for name in ("lfw_folds9_10", "lfw_view1", "lfw_split"):
        same = read_pairs(built / "lfw" / f"{name}.bin").same
        assert all(fold.sum() == len(fold) / 2 for fold in np.split(same, 10))


def test_lfw_crops_are_grey_and_undetected_faces_use_the_mean_landmarks(originals, built):
    with Image.open(built / "crops" / "lfw" / WITHOUT_A_FACE) as crop:
        assert crop.mode == "L" and crop.quantization[0][:4] == [3, 2, 2, 3]  # JPEG's quality 90
        assert np.abs(np.array(crop).astype(int) - pixels(originals, f"lfw/{WITHOUT_A_FACE}")).mean() < 4


def test_records_hold_celeba_then_untested_lfw_identities(built):
    few, many = FaceRecords(built / "celeb240" / "train.rec"), FaceRecords(built / "faces15k" / "train.rec")
    assert few.num_classes == 3 and set(np.bincount(few.labels)) <= {15, 16, 19, 30}
    assert many.num_classes == 3 + len(NAMES) - TESTED
    assert np.bincount(many.labels)[3:].tolist() == [PHOTOS] * (len(NAMES) - TESTED)
    assert [many.payload(row) for row in range(len(few))] == [few.payload(row) for row in range(len(few))]
    first = built / "crops" / "lfw" / NAMES[TESTED] / f"{NAMES[TESTED]}_0001.jpg"
    assert many.payload(len(few)) == first.read_bytes()


def test_differing_lists_are_reported(tool, originals, tmp_path, capsys):
    assert tool.main(arguments(originals, tmp_path / "out", "lfw")) == 0
    out = capsys.readouterr().out
    assert out.count("NOT those of docs/benchmarks") == 4 and "1 photos without a detected face" in out
    assert not (tmp_path / "out" / "faces15k").exists()


def test_second_run_changes_and_crops_nothing(tool, originals, built, monkeypatch):
    before = {file: file.read_bytes() for file in built.rglob("*") if file.suffix in (".bin", ".rec", ".txt")}
    assert before
    monkeypatch.setattr(bench_crops, "crop_photo", None)
    assert tool.main(arguments(originals, built, "lfw", "celeba")) == 0
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize(
    ("part", "damage", "message"),
    [
        ("lfw", lambda root: (root / "lfw/P_03/P_03_0004.jpg").unlink(), "lacks 1 photos of the lists, such as P_03/P_03_0004"),
        ("lfw", lambda root: (root / "lfw/P_03/P_03_0004.jpg").write_bytes(b"\xff\xd8\xff"), "1 photos cannot be read"),
        ("lfw", lambda root: (root / "pairs.txt").write_text("10\t300\nA\t1\t2\n"), "has 1 pairs, LFW's list has 6000"),
        ("celeba", lambda root: (root / "identities.txt").write_text("000001.jpg 7 1\n"), "line 1: found"),
        (
            "celeba",
            lambda root: (root / "identities.txt").write_text("000001.jpg 7\n"),
            "has 0 identities of 15 or more photos",
        ),
        ("celeba", lambda root: [file.unlink() for file in (root / "celeba").iterdir()], r"lacks \d+ of \d+ photos, such as 0"),
    ],
)
def test_missing_or_broken_input_is_named(tool, originals, tmp_path, capsys, part, damage, message):
    root = shutil.copytree(originals, tmp_path / "originals")
    damage(root)
    assert tool.main(arguments(root, tmp_path / "out", part)) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("words", [[], ["--lfw", "lfw"], ["--celeba", "celeba"], ["--lfw", "lfw", "--pairs", "pairs.txt"]])
def test_missing_options_are_rejected(tool, tmp_path, words):
    with pytest.raises(SystemExit) as stopped:
        tool.main([str(tmp_path), *words])
    assert stopped.value.code == 2
