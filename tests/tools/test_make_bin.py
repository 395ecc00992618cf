"""Lists of pairs and synthetic identities -> verification files."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.images import decode, encode_jpeg
from aird_plugin.data.pairs import pair_faces, read_pairs
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.recordio.writer import RecordWriter
from aird_plugin.data.records import decode_face, open_records
from aird_plugin.data.synthetic.draw import draw_person
from tests.skips import needs
from tools.lib.pair_sampling import synthetic_pairs

SCRIPT = Path(__file__).parents[2] / "tools" / "make_bin.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("make_bin", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path, noise_faces):
    """LFW's folders of three identities, with two formats and a name with a blank."""
    names = ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", "Bo/Bo_0010.png", "Cy No/Cy No_0001.bmp")
    for name, image in zip(names, noise_faces(4), strict=True):
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "faces" / name)
    return tmp_path / "faces"


def run(tool, root, text, *options):
    """Status and pairs of a list."""
    (root.parent / "pairs.txt").write_text(text)
    status = tool.main([str(root.parent / "pairs.txt"), str(root.parent / "out.bin"), "--root", str(root), *options])
    return status, read_pairs(root.parent / "out.bin") if status == 0 else None


LISTS = {
    "paths": "Ann_Lee/Ann_Lee_0001.jpg Ann_Lee/Ann_Lee_0002.jpg 1\nAnn_Lee/Ann_Lee_0001.jpg  Bo/Bo_0010.png 0\n",
    "tabs": "Ann_Lee/Ann_Lee_0001.jpg\tAnn_Lee/Ann_Lee_0002.jpg\t1\n\nAnn_Lee/Ann_Lee_0001.jpg\tBo/Bo_0010.png\t0\n",
    "lfw": "1\t1\nAnn_Lee\t1\t2\nAnn_Lee\t1\tBo\t10\n",
    "lfw view 1": "1\nAnn_Lee 1 2\nAnn_Lee 1 Bo 10\n",
    "lfw without header": "Ann_Lee 1 2\nAnn_Lee 1 Bo 10\n",
}


@pytest.mark.parametrize("form", LISTS)
def test_every_list_format(tool, root, form, capsys):
    status, pairs = run(tool, root, LISTS[form])
    files = ["Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", "Ann_Lee/Ann_Lee_0001.jpg", "Bo/Bo_0010.png"]
    assert status == 0
    assert pairs.images == [(root / file).read_bytes() for file in files]
    assert pairs.same.tolist() == [True, False]
    printed = capsys.readouterr()
    assert "2 pairs, 1 genuine, 3 images" in printed.out and "ten pairs or more" in printed.err


def test_names_with_blanks_and_other_formats(tool, root):
    _, pairs = run(tool, root, "Cy No\t1\tBo\t10\n")
    assert pairs.images[0] == encode_jpeg(decode((root / "Cy No" / "Cy No_0001.bmp").read_bytes(), ""))
    assert pairs.same.tolist() == [False]


@pytest.mark.parametrize(
    "text, why",
    [
        ("Ann_Lee 1 2\nAnn_Lee 1 3\n", "line 2: no .*Ann_Lee_0003.jpg"),
        ("Ann_Lee/Ann_Lee_0001.jpg none.jpg 1\n", "line 1: no .*none.jpg .nor with another suffix"),
        ("Ann_Lee 1 2\nAnn_Lee/Ann_Lee_0001.jpg 1\n", "line 2: found .*allowed are `path_a"),
        ("a b 2\n", "line 1: found"),
        ("a b c d e\n", "line 1: found"),
        ("broken.jpg broken.jpg 1\n", "line 1: .*broken.jpg: 6 bytes that are no readable image"),
        ("small.png small.png 1\n", "line 1: .*small.png has 16x16 pixels"),
        ("../secret.png ../secret.png 1\n", "line 1: '../secret.png' lies outside .*was not opened"),
        ("Bo/../../secret.png Bo/Bo_0010.png 1\n", "line 1: .*lies outside"),
        ("/etc/secret.png Bo/Bo_0010.png 1\n", "line 1: .*lies outside"),
        ("../elsewhere 1 2\n", "line 1: .*lies outside"),
        ("", "pairs.txt lists no pair"),
        ("300\n", "pairs.txt lists no pair"),
    ],
)
def test_bad_lists_name_the_line(tool, root, text, why, capsys):
    (root / "broken.jpg").write_bytes(b"broken")
    Image.new("RGB", (16, 16)).save(root / "small.png")
    Image.new("RGB", (112, 112)).save(root.parent / "secret.png")
    assert run(tool, root, text)[0] == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(why, error), error
    assert not (root.parent / "out.bin").exists()


def test_a_file_that_cannot_be_written_is_named_before_any_work(tool, root, capsys):
    (root.parent / "file").write_bytes(b"")
    (root.parent / "pairs.txt").write_text("none.png none.png 1\n")
    words = ["--root", str(root)]
    assert tool.main([str(root.parent / "pairs.txt"), str(root.parent / "file" / "out.bin"), *words]) == 1
    assert "file/out.bin cannot be written" in capsys.readouterr().err


def test_resize(tool, root):
    Image.new("RGB", (16, 16), "red").save(root / "small.png")
    status, pairs = run(tool, root, "small.png small.png 1\n", "--resize")
    assert status == 0 and decode(pairs.images[0], "").shape == (112, 112, 3)


def test_one_sided_folds_are_reported(tool, root, capsys):
    same, other = "Ann_Lee 1 2\n", "Ann_Lee 1 Bo 10\n"
    run(tool, root, (same + other) * 10)
    assert capsys.readouterr().err == ""
    run(tool, root, same * 10 + other * 10)
    assert "fold 1 of the ten has only genuine or only impostor pairs" in capsys.readouterr().err


def test_synthetic_file(tool, tmp_path):
    out = tmp_path / "out.bin"
    arguments = ["--people", "20", "--first-person", "50", "--pairs", "20", "--seed", "7", "--workers", "1"]
    assert tool.main(["--synthetic", str(out), *arguments]) == 0
    pairs = read_pairs(out)
    expected = synthetic_pairs(20, 50, 20, 7)
    assert pairs.same.tolist() == [same for *_, same in expected]
    for index, shot in enumerate(shot for *both, _ in expected for shot in both):
        assert pairs.images[index] == encode_jpeg(draw_person(*shot, 7))
    first = out.read_bytes()
    tool.main(["--synthetic", str(out), *arguments])
    assert out.read_bytes() == first
    assert np.array_equal(read_pairs(out).same, pairs.same)


def test_verification_pairs_of_survface(tool, tmp_path, capsys):
    scipy_io = needs("scipy.io")
    folder = tmp_path / "QMUL-SurvFace" / "Face_Verification_Test_Set"
    (folder / "verification_images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("7_a", "7_b", "9_a"):
        image = Image.fromarray(rng.integers(0, 256, (21, 14, 3), np.uint8))
        image.save(folder / "verification_images" / f"{name}.jpg")
    for kind, other in (("positive", "7_b.jpg"), ("negative", "9_a.jpg")):
        cells = np.array([["7_a.jpg", other]] * 10, dtype=object)
        scipy_io.savemat(folder / f"{kind}_pairs_names.mat", {f"{kind}_pairs_names": cells})
    assert tool.main(["--survface", str(tmp_path / "QMUL-SurvFace"), str(tmp_path / "out.bin")]) == 0
    pairs = read_pairs(tmp_path / "out.bin")
    assert pairs.same.tolist() == [True, False] * 10 and len(set(pairs.images)) == 3
    original = Image.open(folder / "verification_images" / "9_a.jpg").resize((112, 112), Image.Resampling.BICUBIC)
    assert np.array_equal(decode(pairs.images[3], "9_a"), np.asarray(original))
    assert tool.main(["--survface", str(tmp_path), str(tmp_path / "none.bin")]) == 1
    assert "positive_pairs_names.mat" in capsys.readouterr().err


def test_holdout_splits_identities_between_pairs_and_training_set(tool, tmp_path, noise_faces, capsys):
    """25 identities with three images, five with one; 20 are held out."""
    labels = [*np.repeat(range(25), 3).tolist(), *range(25, 30)]
    payloads = [(label, encode_jpeg(image)) for label, image in zip(labels, noise_faces(80), strict=True)]
    write_face_records(tmp_path / "all", payloads)
    held_out, rest = tmp_path / "held_out.bin", tmp_path / "rest"
    arguments = ["--holdout", str(tmp_path / "all"), str(held_out), "--rest", str(rest), "--people", "20", "--pairs", "40"]
    assert tool.main(arguments) == 0
    pairs, kept = read_pairs(held_out), open_records(str(rest))
    label_of = {payload: label for label, payload in payloads}
    labels = [label_of[image] for image in pairs.images]
    assert (np.array(labels[0::2]) == labels[1::2]).tolist() == pairs.same.tolist() and pairs.same.sum() == 20
    folds = [set(labels[8 * fold : 8 * fold + 8]) for fold in range(10)]
    assert sum(map(len, folds)) == len(set(labels)) <= 20
    rest_labels = {label_of[kept.payload(row)] for row in range(len(kept))}
    assert not rest_labels & set(labels) and set(range(25, 30)) <= rest_labels and len(kept) == 80 - 60
    assert kept.num_classes == 10
    assert tool.main(arguments) == 1 and "--rest" in capsys.readouterr().err
    assert tool.main([*arguments[:3], "--rest", str(tmp_path / "more"), "--people", "20", "--pairs", "400"]) == 1
    assert "fewer --pairs" in capsys.readouterr().err and not (tmp_path / "more").exists()


def test_holdout_of_a_folder_of_tiff_files(tool, tmp_path, noise_faces):
    for row, image in enumerate(noise_faces(48)):
        file = tmp_path / "all" / f"{row // 2:02d}" / f"{row}.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    arguments = ["--holdout", str(tmp_path / "all"), str(tmp_path / "out.bin"), "--rest", str(tmp_path / "rest")]
    assert tool.main([*arguments, "--people", "20", "--pairs", "20"]) == 0
    assert pair_faces(read_pairs(tmp_path / "out.bin")).shape == (40, 112, 112, 3)
    rest = open_records(str(tmp_path / "rest"))
    assert [decode_face(rest, row).shape for row in range(8)] == [(112, 112, 3)] * 8


def test_holdout_of_a_record_file_that_skips_labels(tool, tmp_path, noise_faces):
    """Such files come from im2rec; the labels of the rest are numbered without gaps."""
    payloads = [(3 * (row // 2), encode_jpeg(image)) for row, image in enumerate(noise_faces(48))]
    with RecordWriter(tmp_path / "train.rec") as writer:
        for key, (label, payload) in enumerate(payloads):
            writer.write(key, float(label), payload)
    arguments = ["--holdout", str(tmp_path / "train.rec"), str(tmp_path / "out.bin"), "--rest", str(tmp_path / "rest")]
    assert tool.main([*arguments, "--people", "20", "--pairs", "20"]) == 0
    kept = open_records(str(tmp_path / "rest"))
    assert kept.num_classes == 4 and len(kept) == 8
    assert not {kept.payload(row) for row in range(8)} & set(read_pairs(tmp_path / "out.bin").images)


@pytest.mark.parametrize(
    ("arguments", "ignored"),
    [
        ("pairs.txt OUT --root faces --pairs 2000 --rgb", "--rgb, --pairs"),
        ("--survface FOLDER OUT --resize", "--resize"),
        ("--holdout FOLDER OUT --rest rest --first-person 9 --root faces", "--root, --first-person"),
        ("--synthetic OUT --people 20 --resize", "--resize"),
    ],
)
def test_options_of_another_kind_of_source_are_refused(tool, tmp_path, capsys, arguments, ignored):
    """`--pairs 2000` for a list wrote the whole list, without a line about it."""
    with pytest.raises(SystemExit):
        tool.main(arguments.replace("OUT", str(tmp_path / "out.bin")).split())
    assert f"error: {ignored} has no effect here\n" in capsys.readouterr().err and not (tmp_path / "out.bin").exists()
