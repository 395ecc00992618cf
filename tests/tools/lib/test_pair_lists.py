"""Published lists of pairs, in layouts made by hand -> verification files."""

import re

import numpy as np
import pytest
from PIL import Image

from aird_plugin.data.pairs import read_pairs
from tests.skips import needs
from tools import make_bin


@pytest.fixture
def packed(tmp_path, noise_faces, capsys):
    """(names, source) -> the pairs of the .bin as names of images below `aligned`, with their flags."""

    def pack(names, source):
        root, out = tmp_path / "aligned", tmp_path / "out.bin"
        for name, image in zip(names, noise_faces(len(names)), strict=True):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / name)
        if make_bin.main([str(source), str(out), "--root", str(root)]):
            return capsys.readouterr().err
        pairs = read_pairs(out)
        name_of = {(root / name).read_bytes(): name for name in names}
        images = [name_of[image] for image in pairs.images]
        return list(zip(images[0::2], images[1::2], pairs.same.tolist(), strict=True))

    return pack


def test_calfw_divides_its_impostor_pairs_over_the_folds(tmp_path, packed):
    """Genuine pairs carry their fold, impostor pairs 0 at the end."""
    names = [f"{name}_{number:04d}.png" for name in ("A", "B") for number in (1, 2, 3)]
    genuine = [(names[0], names[1], 1), (names[3], names[4], 1), (names[1], names[2], 2), (names[4], names[5], 2)]
    impostor = [(names[number], names[3 + number % 3], 0) for number in (0, 1, 2, 0)]
    file = tmp_path / "pairs_CALFW.txt"
    lines = [f"{name} {fold}\n" for a, b, fold in genuine + impostor for name in (a, b)]
    # The list names .jpg; the aligned copies are .png.
    file.write_text("".join(lines).replace(".png", ".jpg"))
    expected = [(a, b, bool(fold)) for a, b, fold in genuine[:2] + impostor[:2] + genuine[2:] + impostor[2:]]
    assert packed(names, file) == expected


@pytest.mark.parametrize(
    "text, why",
    [
        ("A.jpg 1\nB.jpg 2\n", "line 1: found '1' and '2'"),
        ("A.jpg 11\nB.jpg 11\n", "line 1: found '11'"),
        ("A.jpg 1\nB.jpg 1\nA.jpg 0\n", "has 3 lines"),
        ("A.jpg 1\nC.jpg 1\n", "line 1: no .*C.jpg"),
        ("../A.jpg 1\nB.jpg 1\n", "line 1: .*lies outside"),
    ],
)
def test_bad_calfw_lists_name_the_line(tmp_path, packed, text, why):
    (tmp_path / "pairs.txt").write_text(text)
    assert re.search(why, packed(["A.png", "B.png"], tmp_path / "pairs.txt"))


def test_agedb_text_list_needs_no_option(tmp_path, packed):
    (tmp_path / "agedb_30_pair.txt").write_text("1.jpg 2.jpg 1\n1.jpg 3.jpg 0\n")
    assert packed(["1.jpg", "2.jpg", "3.jpg"], tmp_path / "agedb_30_pair.txt") == [
        ("1.jpg", "2.jpg", True),
        ("1.jpg", "3.jpg", False),
    ]


def cells(*names_of_rows):
    """A MATLAB cell array (2, pairs) of structures (name, age)."""
    array = np.empty((2, len(names_of_rows[0])), object)
    for row, names in enumerate(names_of_rows):
        array[row] = [{"name": name, "age": 30.0} for name in names]
    return array


def test_agedb_protocol(tmp_path, packed):
    scipy_io = needs("scipy.io")
    names = ["Ann_12_X_30_f", "Ann_13_X_60_f", "Bo_14_Y_61_m"]
    splits = np.empty((2, 1), object)
    splits[0, 0] = {"pairs": cells(names[:1] * 2, names[1:]), "labels": np.array([[1, -1]])}
    splits[1, 0] = {"pairs": cells(names[1:2], names[:1]), "labels": np.array([[1]])}
    file = tmp_path / "04_FINAL_protocol_30_years.mat"
    scipy_io.savemat(file, {"splits": splits})
    a, b, c = (f"{name}.jpg" for name in names)
    assert packed([a, b, c], file) == [(a, b, True), (a, c, False), (b, a, True)]
    scipy_io.savemat(file, {"splits": np.zeros((2, 1))})
    assert "another structure than AgeDB's protocol" in packed([a], file)


@pytest.fixture
def cfp(tmp_path):
    """CFP's Protocol folder with two folds of FF and FP."""
    protocol = tmp_path / "Protocol"
    for kind, name in (("F", "frontal"), ("P", "profile")):
        for split in ("FF", "FP"):
            for fold in ("01", "02"):
                (protocol / "Split" / split / fold).mkdir(parents=True, exist_ok=True)
        lines = [f"{n} ../Data/Images/{n:03d}/{name}/01.jpg" for n in (1, 2)]
        (protocol / f"Pair_list_{kind}.txt").write_text("\n".join(lines))
    for split in ("FF", "FP"):
        for fold, (same, different) in {"02": ("2,2", "2,1"), "01": ("1,1", "1,2")}.items():
            (protocol / "Split" / split / fold / "same.txt").write_text(same + "\n")
            (protocol / "Split" / split / fold / "diff.txt").write_text(different + "\n")
    return protocol


CFP_IMAGES = [f"{n:03d}/{name}/01.jpg" for n in (1, 2) for name in ("frontal", "profile")]


@pytest.mark.parametrize("split", ["FF", "FP"])
def test_cfp_protocol(cfp, packed, split):
    """In the order of the folds; the second number is of the list of profiles in FP alone."""
    second = {"FF": "frontal", "FP": "profile"}[split]
    expected = [(1, 1, True), (1, 2, False), (2, 2, True), (2, 1, False)]
    found = packed(CFP_IMAGES, cfp / "Split" / split)
    assert found == [(f"{a:03d}/frontal/01.jpg", f"{b:03d}/{second}/01.jpg", same) for a, b, same in expected]


def test_cfp_protocol_from_its_own_folder(cfp, packed, monkeypatch):
    monkeypatch.chdir(cfp / "Split")
    assert packed(CFP_IMAGES, "FP") == packed(CFP_IMAGES, cfp / "Split" / "FP")


def test_bad_cfp_folders_are_refused(cfp, packed):
    assert "neither CFP's Protocol/Split/FF or FP nor a bcolz folder" in packed([], cfp)
    (cfp / "Split" / "FP" / "02" / "diff.txt").write_text("2,3\n")
    assert re.search("diff.txt line 1: found '2,3'", packed(CFP_IMAGES, cfp / "Split" / "FP"))
    (cfp / "Split" / "FP" / "02" / "diff.txt").unlink()
    assert re.search("No such file.*diff.txt", packed(CFP_IMAGES, cfp / "Split" / "FP"))
