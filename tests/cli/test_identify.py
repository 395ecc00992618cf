import argparse
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.cli.identify import add_arguments, run
from aird_plugin.data.identification import IdentificationSet, ImageFile, read_folders, read_square
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.lowres import RESIZE, resize_faces
from aird_plugin.data.pairs import read_pairs, write_pairs
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.evaluation import gallery_evaluator, linear_probe
from aird_plugin.evaluation.embed import embed, embed_sums
from aird_plugin.evaluation.eval_spec import Adaptation
from aird_plugin.evaluation.gallery_evaluator import GalleryEvaluator, image_sums
from aird_plugin.evaluation.identification import identify
from aird_plugin.evaluation.pooling import pool
from aird_plugin.evaluation.sides import as_network_input, embed_adapted
from aird_plugin.models import build, recorded
from aird_plugin.models.training_means import TrainingMeans
from aird_plugin.utils.vectors import normalise

NATIVE = "native16_0.05m"
LOW = (16, "bicubic")


def native():
    torch.manual_seed(0)
    return build(NATIVE, 8).eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "student.pt"
    torch.save(native().state_dict(), file)
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five identities enrolled, probes of four of them and of two that are not enrolled; one probe is not square."""
    root = tmp_path_factory.mktemp("data")
    for label in range(5):
        for n in range(2):
            write(root / f"gallery/p{label}/{n}.jpg", draw_person(label, n))
    for label in (0, 1, 2, 3, 8, 9):
        for n in range(2):
            write(root / f"probe/p{label}/walk/{n}.jpg", draw_person(label, 10 + n))
    Image.fromarray(draw_person(3, 20)).resize((20, 30)).save(root / "probe/p3/alone.png")
    return root


@pytest.fixture(scope="module")
def distractors(tmp_path_factory):
    root = tmp_path_factory.mktemp("distractors")
    for label in range(20, 23):
        write(root / f"{label}.jpg", draw_person(label, 0))
    return root


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(image))


def command(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([str(word) for word in words]))


def rows_of(tmp_path, *words):
    command(*words, "--json", tmp_path / "rows.json")
    return json.loads((tmp_path / "rows.json").read_text())


def test_every_combination_gives_a_row_on_screen_and_in_json(model, data, tmp_path, capsys):
    rows = rows_of(tmp_path, model, data, "--layout", "folders", "--network", NATIVE, "--px", 16, 32)
    assert [(row["px"], row["protocol"], row["name"]) for row in rows] == [(16, "lr-lr", ""), (32, "lr-lr", "")]
    made = rows[0].pop("made")
    assert set(made["sha256"]) == {"student"} and made["versions"]["torch"] == torch.__version__
    assert rows[0] == GalleryEvaluator(native(), read_folders(data)[0], data, "folders").evaluate(16, "lr-lr") | {"merge": None}
    counts = {"n_probes": 13, "n_mated": 9, "n_unmated": 4, "n_gallery": 10, "n_distractors": 0, "layout": "folders"}
    counts["resize"] = RESIZE
    assert counts.items() <= rows[0].items()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and len(set(map(len, lines))) == 1
    row = dict(zip(lines[0].split(), lines[1].split(), strict=True))
    assert (row["px"], row["facebn"], row["tpir@0.001"], row["n_mated"]) == ("16", "-", "-", "9")
    assert float(row["rank1"]) == pytest.approx(rows[0]["rank1"], abs=0.01)


def test_figures_are_those_of_the_embeddings(data):
    [search] = read_folders(data)
    row = GalleryEvaluator(native(), search, data, "folders").evaluate(8, "lr-lr")
    probes = np.stack(
        [
            np.asarray(Image.open(image.where).convert("RGB").resize((112, 112), Image.Resampling.BICUBIC))
            for image in search.probes
        ]
    )
    gallery = np.stack([np.asarray(Image.open(image.where)) for image in search.gallery])
    sides = [embed(native(), as_network_input(part, 8, 16)) for part in (probes, gallery)]
    expected = identify(sides[0], search.probe_labels, sides[1], search.gallery_labels)
    assert expected.items() <= row.items()


def test_without_px_an_image_is_resized_once_to_the_side_of_the_network(data):
    image = [ImageFile(str(data / "probe/p3/alone.png"))]
    once = np.asarray(Image.open(image[0].where).resize((16, 16), Image.Resampling.BICUBIC))[None]
    twice = resize_faces(np.asarray(Image.open(image[0].where).resize((112, 112), Image.Resampling.BICUBIC))[None], 16)
    sums = image_sums(native(), image, None, None, 4, "cpu", "test")
    np.testing.assert_allclose(sums, embed_sums(native(), once), rtol=1e-6)
    assert not np.allclose(sums, embed_sums(native(), twice), rtol=1e-3)


def test_degradation_reaches_the_network(data, tmp_path, model):
    words = (model, data, "--layout", "folders", "--network", NATIVE, "--px", 16, "--degradation", "bicubic", "insightface-warp")
    plain, warped = rows_of(tmp_path, *words)
    assert (plain["degradation"], warped["degradation"]) == ("bicubic", "insightface-warp")
    images = read_folders(data)[0].probes
    images_NHWC = read_square(images, 112)
    expected = embed_sums(native(), as_network_input(images_NHWC, 16, 16, "insightface-warp"))
    sums = image_sums(native(), images, (16, "insightface-warp"), None, 96, "cpu", "test")
    np.testing.assert_allclose(sums, expected, rtol=1e-4, atol=1e-5)


def test_blocks_equal_one_pass(data, monkeypatch):
    images = read_folders(data)[0].probes
    expected = image_sums(native(), images, LOW, None, 4, "cpu", "test")
    monkeypatch.setattr(gallery_evaluator, "IMAGES_AT_ONCE", 5)
    np.testing.assert_allclose(image_sums(native(), images, LOW, None, 4, "cpu", "test"), expected, rtol=1e-4, atol=1e-5)


def test_lr_hr_gallery_is_not_downsampled_and_embedded_by_the_teacher(model, data, tmp_path):
    torch.manual_seed(1)
    torch.save(build("mfn", 8).state_dict(), tmp_path / "teacher.pt")
    words = (model, data, "--layout", "folders", "--network", NATIVE, "--teacher", tmp_path / "teacher.pt", "--px", 16)
    [row] = rows_of(tmp_path, *words, "--protocol", "lr-hr")
    assert (row["protocol"], row["high_side"]) == ("lr-hr", "teacher")
    from aird_plugin.models.load import load_teacher

    [search] = read_folders(data)
    probes = normalise(image_sums(native(), search.probes, LOW, None, 96, "cpu", "test"))
    gallery = normalise(image_sums(load_teacher(tmp_path / "teacher.pt"), search.gallery, None, None, 96, "cpu", "test"))
    assert identify(probes, search.probe_labels, gallery, search.gallery_labels).items() <= row.items()


def test_frozen_network_embeds_once_for_each_side_and_px(data, monkeypatch):
    calls = []
    monkeypatch.setattr(gallery_evaluator, "image_sums", lambda *args: calls.append((args[-1], *args[2])) or image_sums(*args))
    evaluator = GalleryEvaluator(native(), read_folders(data)[0], data, "folders")
    rows = [evaluator.evaluate(px, "lr-lr", pooling=pooling) for px in (16, 8) for pooling in ("none", "mean")]
    assert sorted(calls) == [(f"student, {part}", px, "bicubic") for part in ("gallery", "probes") for px in (8, 16)]
    assert rows[0] | {"px": 8} != rows[2]
    evaluator.evaluate(16, "lr-lr", facebn="full")
    assert len(calls) == 6


def test_facebn_adapts_probes_and_gallery_separately(data):
    [search] = read_folders(data)
    student = native()
    row = GalleryEvaluator(student, search, data, "folders").evaluate(16, "lr-lr", facebn="full", keep=0.3)
    assert (row["facebn"], row["keep"]) == ("full", 0.3)
    sides, adaptation = [], Adaptation("full", 0.3, None)
    for part in (search.probes, search.gallery):
        images_NHWC = as_network_input(gallery_evaluator.read_square(part, 112), 16, 16)
        sides.append(embed_adapted(student, images_NHWC, adaptation, 96, "cpu", "test"))
        sums = image_sums(student, part, LOW, adaptation, 96, "cpu", "test")
        np.testing.assert_allclose(normalise(sums), sides[-1], atol=1e-6)
        assert np.ptp(np.linalg.norm(sums, axis=1)) > 1e-3
    assert identify(sides[0], search.probe_labels, sides[1], search.gallery_labels).items() <= row.items()


@pytest.mark.parametrize("pooling", ["none", "mean", "quality"])
def test_identities_and_tracks_are_pooled_and_distractors_are_not(pooling, monkeypatch):
    rng = np.random.default_rng(0)
    gallery, probes = rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    image = ImageFile("p", b"p")
    search = IdentificationSet(
        "", [image] * 6, np.array([3, 3, -1, 4, -1, 3]), [image] * 5, np.array([4, 3, 3, 7, 3]), np.array([2, 0, 0, 1, 3])
    )
    evaluator = GalleryEvaluator(None, search, "d", "l")
    monkeypatch.setattr(evaluator, "_sums", lambda role, low, part, *_: {"gallery": gallery, "probes": probes}[part])
    monkeypatch.setattr(gallery_evaluator, "check_eval_spec", lambda *args: None)
    searches = []
    monkeypatch.setattr(gallery_evaluator, "identify", lambda *args: searches.append(args) or identify(*args))
    row = evaluator.evaluate(16, "lr-lr", pooling=pooling)
    if pooling == "none":
        expected = [normalise(probes), search.probe_labels, normalise(gallery), search.gallery_labels]
    else:
        weigh = {"mean": lambda rows: np.ones(len(rows)), "quality": lambda rows: None}[pooling]
        tracks = {0: probes[[1, 2]], 1: probes[[3]], 2: probes[[0]], 3: probes[[4]]}
        entries = {-5: gallery[[4]], -3: gallery[[2]], 3: gallery[[0, 1, 5]], 4: gallery[[3]]}
        expected = [
            [pool(rows, weigh(rows)) for rows in tracks.values()],
            [3, 7, 4, 3],
            [pool(rows, weigh(rows)) for rows in entries.values()],
            list(entries),
        ]
        assert (row["n_probes"], row["n_gallery"], row["n_distractors"]) == (4, 4, 2)
    for actual, wanted in zip(*searches, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, atol=1e-6)
    assert row["pooling"] == pooling


def test_bin_and_its_distractors(model, pairs_file, distractors, tmp_path):
    words = (model, pairs_file, "--layout", "bin", "--network", NATIVE, "--px", 16)
    [row] = rows_of(tmp_path, *words)
    assert row["n_probes"] > row["n_mated"] > 0 and row["n_distractors"] == 0
    single = row["n_probes"] - row["n_mated"]
    [own] = rows_of(tmp_path, *words, "--distractors")
    assert (own["n_probes"], own["n_distractors"]) == (row["n_mated"], single)
    [further] = rows_of(tmp_path, *words, "--distractors", distractors)
    assert (further["n_probes"], further["n_distractors"]) == (row["n_probes"], 3)


def test_merge_joins_the_identities_of_a_bin(model, pairs_file, tmp_path):
    torch.manual_seed(1)
    torch.save(build("mfn", 8).state_dict(), tmp_path / "teacher.pt")
    words = (model, pairs_file, "--layout", "bin", "--network", NATIVE, "--px", 16, "--teacher", tmp_path / "teacher.pt")
    [row] = rows_of(tmp_path, *words, "--merge", -1)
    assert (row["n_gallery"], row["merge"]) == (1, -1) and row["n_probes"] == row["n_mated"]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--layout", "folders", "--pool", "median"], "none, mean, quality, got 'median'"),
        (["--layout", "folders", "--px", "2"], "px is"),
        (["--layout", "folders", "--degradation", "jpeg"], "downsamples images: set the side with --px"),
        (["--layout", "folders", "--px", "16", "--degradation", "fog"], "degradation is one of"),
        (["--layout", "folders", "--keep", "0.1"], "--facebn"),
        (["--layout", "folders", "--order", "7"], "--order is of the images in FaceBN's batches"),
        (["--layout", "folders", "--protocol", "hr-hr"], "lr-lr, lr-hr"),
        (["--layout", "folders", "--protocol", "lr-hr"], "needs a teacher"),
        (["--layout", "folders", "--distractors"], "name the folder"),
        (["--layout", "folders", "--merge", "0.6"], "give --layout bin and --teacher"),
        (["--layout", "bin", "--merge", "0.6"], "give --layout bin and --teacher"),
        (["--layout", "tinyface"], "gallery_match_img_ID_pairs.mat"),
        (["--layout", "scface"], "mugshot_frontal_cropped_all"),
    ],
)
def test_bad_options_are_rejected_before_any_work(model, data, options, message, monkeypatch):
    monkeypatch.setattr(gallery_evaluator, "image_sums", lambda *args: pytest.fail("work began"))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        command(model, data, "--network", NATIVE, *options)


def test_missing_data_set_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="no data set at .*nowhere"):
        command(model, tmp_path / "nowhere", "--layout", "folders")


def test_uccs_reports_the_mean_over_draws(model, tmp_path, monkeypatch, capsys):
    for label in range(3):
        for n in range(2):
            write(tmp_path / f"uccs/{label}/{n}.jpg", draw_person(label, n))
    calls = []
    monkeypatch.setattr(linear_probe, "linear_probe_accuracies", lambda *args: calls.append(args) or [97.0, 98, 99, 98, 98])
    words = (model, tmp_path / "uccs", "--layout", "uccs", "--network", NATIVE)
    [row] = rows_of(tmp_path, *words, "--px", 8)
    assert (row["accuracy"], row["n_people"], row["n_faces"]) == (98, 3, 6)
    assert row["accuracy_std"] == pytest.approx(0.5**0.5) and row["draws"] == [97, 98, 99, 98, 98]
    [(embeddings, labels, draws)] = calls
    images_NHWC = np.stack([np.asarray(Image.open(tmp_path / f"uccs/{n // 2}/{n % 2}.jpg")) for n in range(6)])
    np.testing.assert_allclose(embeddings, embed(native(), as_network_input(images_NHWC, 8, 16)), atol=1e-6)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2] and draws == 5
    assert capsys.readouterr().out.splitlines()[1].split() == ["uccs", "8", "bicubic", "-", "98.00", "0.71", "5"]
    for option in (["--distractors", tmp_path], ["--pool", "mean"], ["--protocol", "lr-hr"]):
        with pytest.raises(ValueError, match="uccs has no gallery"):
            command(*words, *option)


def test_uccs_takes_no_teacher(model, tmp_path):
    """Its linear probe is on the model alone: a teacher was loaded and had no effect."""
    for words in (("--teacher", model), ("--teacher", model, "--teacher-input", "color=bgr"), ("--high-side", "student")):
        with pytest.raises(ValueError, match="on the model alone, without a teacher: leave out --teacher"):
            command(model, tmp_path, "--layout", "uccs", "--network", NATIVE, *words)


def test_uccs_rows_hold_the_settings_that_change_them(model, tmp_path, monkeypatch, capsys):
    """Rows of two degradations, or of two weights of FaceBN, looked alike."""
    for label, n in itertools.product(range(3), range(2)):
        write(tmp_path / f"uccs/{label}/{n}.jpg", draw_person(label, n))
    monkeypatch.setattr(linear_probe, "linear_probe_accuracies", lambda *args: [97.0, 98])
    words = (model, tmp_path / "uccs", "--layout", "uccs", "--network", NATIVE, "--px", 8, "--degradation", "bicubic", "blur")
    rows = rows_of(tmp_path, *words, "--facebn", "stream", "--keep", 0.3, "--order", 4, "--batch", 3, "--include-bn1d")
    keys = ("degradation", "facebn", "keep", "include_bn1d", "order", "batch", "centre")
    assert [[row[key] for key in keys] for row in rows] == [
        [name, "stream", 0.3, True, 4, 3, False] for name in ("bicubic", "blur")
    ]
    lines = capsys.readouterr().out.splitlines()[1:3]
    assert [line.split()[2:4] for line in lines] == [["bicubic", "stream+bn1d"], ["blur", "stream+bn1d"]]


def test_quality_weights_of_centered_embeddings_are_refused(model, data, monkeypatch):
    """They weighted a crop by its distance to the training mean: on LFW from 8 to 112 px about the inverse of its length."""
    [identification_set] = read_folders(data)
    means = TrainingMeans(np.full(8, 0.1, np.float32), None, None)
    evaluator = GalleryEvaluator(native(), identification_set, data, "folders", means=means)
    with pytest.raises(ValueError, match="pooling by quality weights .* centering by the training mean replaces"):
        evaluator.evaluate(pooling="quality", centre="training")
    assert evaluator.evaluate(pooling="mean", centre="training")["centre"] == "training"
    monkeypatch.setattr(recorded, "recorded_metadata", lambda path, network: {"training_centre": True})
    with pytest.raises(ValueError, match="subtracts its training mean in its graph: pooling by quality"):
        command(model, data, "--layout", "folders", "--network", NATIVE, "--pool", "quality")


def test_probes_copied_from_the_gallery_are_a_warning(model, data, tmp_path, capsys):
    words = ["--layout", "folders", "--network", NATIVE]
    command(model, data, *words)
    assert capsys.readouterr().err == ""
    shutil.copytree(data, tmp_path / "data")
    shutil.copy(data / "gallery" / "p2" / "1.jpg", tmp_path / "data" / "probe" / "p2" / "copy.jpg")
    assert command(model, tmp_path / "data", *words) == 0
    text = capsys.readouterr().err
    assert text.startswith("WARNING 1 of 10 mated probes are copies of gallery images") and "byte for byte" in text
    assert f"{tmp_path}/data/probe/p2/copy.jpg of {tmp_path}/data/gallery/p2/1.jpg" in text


def test_unreadable_images_are_left_out_and_counted(model, data, distractors, tmp_path, capsys):
    """One unreadable test image ended the command. The row is that of the set without it."""
    words = ["--layout", "folders", "--network", NATIVE, "--px", 16]
    shutil.copytree(data, tmp_path / "torn")
    shutil.copytree(data, tmp_path / "without")
    shutil.copytree(distractors, tmp_path / "torn/distractor")
    shutil.copytree(distractors, tmp_path / "without/distractor")
    for name in ("gallery/p1/0.jpg", "gallery/p2/0.jpg", "gallery/p2/1.jpg", "probe/p8/walk/1.jpg", "distractor/21.jpg"):
        file = tmp_path / "torn" / name
        file.write_bytes(file.read_bytes()[:200])
        (tmp_path / "without" / name).unlink()
    shutil.rmtree(tmp_path / "without/probe/p2")
    [row] = rows_of(tmp_path, model, tmp_path / "torn", *words)
    text = capsys.readouterr().out
    [expected] = rows_of(tmp_path, model, tmp_path / "without", *words)
    # The labels keep their numbers, and are hashed.
    changed = {key for key in row if key not in ("data", "made", "data_sha256") and row[key] != expected.get(key)}
    assert changed == {"unreadable_images"} and row["unreadable_images"] == 5
    assert text.splitlines()[0].endswith("unreadable_images") and text.splitlines()[1].endswith(" 5")
    root = tmp_path / "torn"
    assert text.splitlines()[2:] == [
        f"{root}/gallery: 7 images taken; left out: unreadable images: 3 (p1/0.jpg, p2/0.jpg, p2/1.jpg)",
        f"{root}/probe: 10 images taken; left out: unreadable images: 1 (p8/walk/1.jpg); "
        "probes whose gallery images are all unreadable: 2 (p2/walk/0.jpg, p2/walk/1.jpg)",
        f"{root}/distractor: 2 images taken; left out: unreadable images: 1 (21.jpg)",
    ]


def test_unreadable_images_of_a_bin_are_left_out(model, pairs_file, tmp_path, capsys):
    pairs = read_pairs(pairs_file)
    images = [image[:200] if place == 3 else image for place, image in enumerate(pairs.images)]
    write_pairs(tmp_path / "torn.bin", images, pairs.same.tolist())
    [row] = rows_of(tmp_path, model, tmp_path / "torn.bin", "--layout", "bin", "--network", NATIVE, "--px", 16)
    assert row["unreadable_images"] == 1
    assert capsys.readouterr().out.endswith("images taken; left out: unreadable images: 1 (pair 1, image 1)\n")


def test_unreadable_images_of_a_linear_probe_are_left_out(model, tmp_path, monkeypatch, capsys):
    for name, image in {"0/0.jpg": draw_person(0, 0), "0/1.jpg": draw_person(0, 1), "1/0.jpg": draw_person(1, 0)}.items():
        write(tmp_path / "uccs" / name, image)
    (tmp_path / "uccs/1/1.jpg").write_bytes(b"torn")
    monkeypatch.setattr(linear_probe, "linear_probe_accuracies", lambda *args: [97.0, 98])
    [row] = rows_of(tmp_path, model, tmp_path / "uccs", "--layout", "uccs", "--network", NATIVE)
    assert (row["n_faces"], row["unreadable_images"]) == (3, 1)
    assert f"{tmp_path}/uccs: 3 images taken; left out: unreadable images: 1 (1/1.jpg)" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["gallery", "probe"])
def test_no_readable_image_is_an_error(part, model, data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    for file in (tmp_path / "data" / part).rglob("*.*"):
        file.write_bytes(b"torn")
    with pytest.raises(ValueError, match=f"no {part}.* is left. .*unreadable images"):
        command(model, tmp_path / "data", "--layout", "folders", "--network", NATIVE)
