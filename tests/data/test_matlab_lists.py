import sys

import numpy as np
import pytest

from aird_plugin.data.constants import NO_IDENTITY
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.matlab_lists import read_survface, read_tinyface, survface_pairs
from tests.skips import needs

io = needs("scipy.io")


def cells(names):
    """A column of MATLAB cells, each with one name, or two columns where each entry is a pair."""
    array = np.empty((len(names), 1 if isinstance(names[0], str) else 2), dtype=object)
    array[:] = np.array(names, dtype=object).reshape(array.shape)
    return array


def images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for n, name in enumerate(names):
        (folder / name).write_bytes(encode_jpeg(np.full((9 + n, 7, 3), 20 * n, np.uint8)))


def column(ids):
    return np.array(ids, np.uint16).reshape(-1, 1)


@pytest.fixture
def tinyface(tmp_path):
    place = tmp_path / "tinyface" / "Testing_Set"
    images(place / "Gallery_Match", ["12_1.jpg", "12_2.jpg", "40_1.jpg"])
    images(place / "Probe", ["12_3.jpg", "40_2.jpg"])
    images(place / "Gallery_Distractor", ["d_1.jpg", "d_2.jpg", "d_3.jpg"])
    lists = {"gallery_set": cells(["12_2.jpg", "12_1.jpg", "40_1.jpg"]), "gallery_ids": column([12, 12, 40])}
    io.savemat(place / "gallery_match_img_ID_pairs.mat", lists)
    io.savemat(place / "probe_img_ID_pairs.mat", {"probe_set": cells(["40_2.jpg", "12_3.jpg"]), "probe_ids": column([40, 12])})
    return tmp_path / "tinyface"


@pytest.fixture
def survface(tmp_path):
    root = tmp_path / "QMUL-SurvFace"
    place = root / "Face_Identification_Test_Set"
    images(place / "gallery", ["7_cam1_1.jpg", "7_cam1_2.jpg", "9_cam2_1.jpg"])
    images(place / "mated_probe", ["9_cam1_8.jpg", "7_cam3_1.jpg"])
    images(place / "unmated_probe", ["88_cam1_1.jpg", "distractors_4.jpg"])
    gallery = {"gallery_set": cells(["7_cam1_1.jpg", "7_cam1_2.jpg", "9_cam2_1.jpg"]), "gallery_ids": column([1, 1, 2])}
    io.savemat(place / "gallery_img_ID_pairs.mat", gallery)
    mated = {"mated_probe_set": cells(["9_cam1_8.jpg", "7_cam3_1.jpg"]), "mated_probe_ids": column([2, 1])}
    io.savemat(place / "mated_probe_img_ID_pairs.mat", mated)
    pairs = root / "Face_Verification_Test_Set"
    images(pairs / "verification_images", ["7_a.jpg", "7_b.jpg", "9_a.jpg", "9_b.jpg"])
    same, different = [["7_a.jpg", "7_b.jpg"], ["9_a.jpg", "9_b.jpg"]], [["7_a.jpg", "9_a.jpg"], ["9_b.jpg", "7_b.jpg"]]
    io.savemat(pairs / "positive_pairs_names.mat", {"positive_pairs_names": cells(same)})
    io.savemat(pairs / "negative_pairs_names.mat", {"negative_pairs_names": cells(different)})
    return root


def names(images):
    return [image.where.rsplit("/", 2)[-2:] for image in images]


def test_tinyface_follows_its_lists(tinyface):
    for root in (tinyface, tinyface / "Testing_Set"):
        [dataset] = read_tinyface(root)
        assert names(dataset.gallery)[:3] == [["Gallery_Match", name] for name in ("12_2.jpg", "12_1.jpg", "40_1.jpg")]
        assert dataset.gallery_labels.tolist() == [12, 12, 40, NO_IDENTITY, NO_IDENTITY, NO_IDENTITY]
        assert names(dataset.probes) == [["Probe", "40_2.jpg"], ["Probe", "12_3.jpg"]]
        assert dataset.probe_labels.tolist() == [
            40,
            12,
        ]


def test_survface_has_non_mated_probes(survface):
    [dataset] = read_survface(survface)
    assert dataset.gallery_labels.tolist() == [1, 1, 2] and dataset.probe_labels.tolist() == [2, 1, NO_IDENTITY, NO_IDENTITY]
    assert names(dataset.probes)[2:] == [["unmated_probe", "88_cam1_1.jpg"], ["unmated_probe", "distractors_4.jpg"]]
    assert len(set(dataset.probe_track.tolist())) == 4


def test_survface_pairs_alternate_positive_and_negative(survface):
    pairs = survface_pairs(survface)
    assert [same for *_, same in pairs] == [True, False, True, False]
    assert [(a.name, b.name) for a, b, _ in pairs][:2] == [("7_a.jpg", "7_b.jpg"), ("7_a.jpg", "9_a.jpg")]


def test_ids_are_whole_numbers_of_any_type(tinyface):
    list_file = tinyface / "Testing_Set" / "probe_img_ID_pairs.mat"
    content = {"probe_set": cells(["40_2.jpg", "12_3.jpg"]), "probe_ids": np.array([[40.0], [12.0]])}
    io.savemat(list_file, content)
    assert read_tinyface(tinyface)[0].probe_labels.tolist() == [40, 12]
    for ids in ([[40.5], [12]], [[-1], [12]], [[40]], [["a"], ["b"]]):
        io.savemat(list_file, content | {"probe_ids": np.array(ids)})
        with pytest.raises(ValueError, match=r"probe_img_ID_pairs\.mat: probe_ids must be 2 whole numbers"):
            read_tinyface(tinyface)


@pytest.mark.parametrize("name", ["../Gallery_Match/12_1.jpg", "/etc/passwd", 7.0])
def test_a_path_in_a_list_is_rejected(tinyface, name):
    content = {"probe_set": cells(["40_2.jpg", "12_3.jpg"]), "probe_ids": column([40, 12])}
    content["probe_set"][1, 0] = name
    io.savemat(tinyface / "Testing_Set" / "probe_img_ID_pairs.mat", content)
    with pytest.raises(ValueError, match="entry 1 is"):
        read_tinyface(tinyface)


def test_listed_but_missing_images_are_counted(tinyface):
    (tinyface / "Testing_Set" / "Probe" / "12_3.jpg").unlink()
    with pytest.raises(ValueError, match=r"lists 2 images; 1 are not in .*Probe: \['12_3\.jpg'\]"):
        read_tinyface(tinyface)


def test_missing_empty_or_damaged_lists_are_named(tinyface):
    list_file = tinyface / "Testing_Set" / "probe_img_ID_pairs.mat"
    content = list_file.read_bytes()
    for damaged in (b"", content[:40], content[:150], b"x" * 400, content[:-30]):
        list_file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"probe_img_ID_pairs\.mat (is no readable|has no variable)"):
            read_tinyface(tinyface)
    io.savemat(list_file, {"other": column([1])})
    with pytest.raises(ValueError, match=r"has no variable probe_set, but \['other'\]"):
        read_tinyface(tinyface)
    list_file.unlink()
    with pytest.raises(FileNotFoundError, match=r"probe_img_ID_pairs\.mat"):
        read_tinyface(tinyface)


def test_a_matlab_7_3_file_is_reported_with_a_remedy(tinyface):
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(500)
    (tinyface / "Testing_Set" / "probe_img_ID_pairs.mat").write_bytes(header)
    with pytest.raises(ValueError, match="v7.3 file; save it in MATLAB with -v7"):
        read_tinyface(tinyface)


def test_missing_scipy_names_the_extra(tinyface, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r"aird_plugin\[arcface\]"):
        read_tinyface(tinyface)


def test_unequal_numbers_of_pairs_are_rejected(survface):
    place = survface / "Face_Verification_Test_Set"
    io.savemat(place / "negative_pairs_names.mat", {"negative_pairs_names": cells([["7_a.jpg", "9_a.jpg"]])})
    with pytest.raises(ValueError, match="2 positive and 1 negative"):
        survface_pairs(survface)
