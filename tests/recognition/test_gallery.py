"""Galleries: enrolment, one file, search with decisions, and what must not be mixed up."""

import multiprocessing
import shutil

import numpy as np
import pytest

from aird_plugin import Gallery
from aird_plugin.data.images import encode_jpeg
from aird_plugin.evaluation.pooling import pool
from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.gallery_file import gallery_lock
from tests.recognition.conftest import DIM, write_hr
from tests.skips import needs


def face(analysis, seed: int, px: float = 112, network=None):
    """A Face with a random embedding of one of the networks, the HR one by default."""
    common = needs("insightface.app.common")
    vector_D = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    network = network or analysis.models.hr
    face = common.Face(px=px, quality=min(px, 112) / 112, network_id=network.identity, embedded_by=network.name)
    face.embedding = vector_D
    return face


@pytest.fixture
def gallery(analysis):
    return Gallery.enrol({f"id {n}": face(analysis, n) for n in range(5)}, analysis)


def test_search_decides_at_the_threshold_of_the_smaller_px(analysis, gallery):
    student = analysis.models.students[0]
    probe = face(analysis, 3, px=20, network=student)
    [match] = gallery.search([probe], top=2)
    assert match.name == "id 3" and match.cosine == pytest.approx(1) and match.network == "tiny" and match.px == 20
    assert (match.threshold, match.far) == (0.4, 0.01) and len(match.candidates) == 2
    stranger = face(analysis, 77, px=20, network=student)
    [match] = gallery.search([stranger])
    assert match.name == "unknown" and match.cosine < 0.4 and match.candidates[0][1] == match.cosine
    for far, px in ((0.001, 20), (0.01, 9)):
        [match] = gallery.search([face(analysis, 3, px=px, network=student)], far=far)
        assert match.name is None and "no threshold was measured" in match.reason and match.candidates[0][0] == "id 3"


def test_track_is_pooled_by_quality_and_no_face_is_no_decision(analysis, gallery):
    track = [face(analysis, 0, px=20), face(analysis, 1, px=112), face(analysis, 2, px=60)]
    expected_D = pool(np.stack([one.embedding for one in track]), [one.quality for one in track])
    [match, nothing] = gallery.search([track, []])
    assert match.cosine == pytest.approx(float(max(gallery.templates_ND @ expected_D)), abs=1e-6)
    assert match.px == pytest.approx((20 * 20 + 112 * 112 + 60 * 60) / 192)
    assert nothing.name is None and nothing.candidates == []


def test_file_holds_what_was_enrolled_without_pickle(analysis, gallery, tmp_path):
    file = tmp_path / "people.npz"
    gallery.save(file)
    loaded = Gallery.load(file, analysis)
    assert loaded.names == gallery.names and [one[1:] for one in loaded.templates.values()] == [
        one[1:] for one in gallery.templates.values()
    ]
    np.testing.assert_array_equal(loaded.templates_ND, gallery.templates_ND)
    assert not any(array.dtype.hasobject for array in np.load(file, allow_pickle=False).values())
    gallery.export(tmp_path / "vectors.npz")
    vectors = np.load(tmp_path / "vectors.npz", allow_pickle=False)
    assert vectors["ids"].tolist() == gallery.names and vectors["vectors"].dtype == np.float32
    np.testing.assert_array_equal(vectors["vectors"], gallery.templates_ND)
    with pytest.raises(ValueError, match="ends in .npz"):
        gallery.export(tmp_path / "vectors.csv")


def test_gallery_of_another_model_is_refused(analysis, gallery, pack, tmp_path):
    gallery.save(tmp_path / "g.npz")
    write_hr(needs("onnx"), tmp_path / "hr.onnx", seed=5)
    other = TinyFaceAnalysis(tmp_path / "hr.onnx")
    with pytest.raises(ValueError, match=r"g.npz was made with tiny .*, hr .*another model"):
        Gallery.load(tmp_path / "g.npz", other)
    with pytest.raises(ValueError, match="another model"):
        Gallery.enrol({"a": face(analysis, 0)}, other)
    # The students that embedded none of its templates may be left out.
    assert len(Gallery.load(tmp_path / "g.npz", TinyFaceAnalysis(pack / "hr.onnx"))) == 5


@pytest.mark.parametrize("damage", ["cut", "text", "nan", "names"])
def test_damaged_file_is_refused(analysis, gallery, tmp_path, damage):
    file = tmp_path / "g.npz"
    gallery.save(file)
    arrays = dict(np.load(file))
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-200])
    elif damage == "text":
        file.write_text("people")
    else:
        key = {"nan": "templates", "names": "px"}[damage]
        arrays[key] = arrays[key] * np.nan if damage == "nan" else arrays[key][:-1]
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match="is no gallery, or a damaged one"):
        Gallery.load(file, analysis)


def test_save_overwrites_nothing_that_it_does_not_know(analysis, gallery, tmp_path):
    file = tmp_path / "g.npz"
    gallery.save(file)
    gallery.add("late", face(analysis, 9))
    gallery.save(file)
    first, second = Gallery.load(file, analysis), Gallery.load(file, analysis)
    first.add("first", face(analysis, 10))
    second.add("second", face(analysis, 11))
    first.save(file)
    with pytest.raises(ValueError, match="has changed since it was loaded; nothing was written"):
        second.save(file)
    with pytest.raises(ValueError, match="exists; nothing was written"):
        Gallery.enrol({"x": face(analysis, 12)}, analysis).save(file)
    assert Gallery.load(file, analysis).names[-2:] == ["late", "first"]


def test_add_to_keeps_both_and_refuses_taken_names(analysis, gallery, tmp_path):
    file = tmp_path / "g.npz"
    gallery.add_to(file)
    more = Gallery.enrol({"new": face(analysis, 20), "id 1": face(analysis, 21)}, analysis)
    with pytest.raises(ValueError, match=r"enrolled already: 1 identity \(id 1\)"):
        more.add_to(file)
    assert Gallery.load(file, analysis).names == gallery.names
    assert len(more.add_to(file, replace=True)) == 6
    np.testing.assert_array_equal(Gallery.load(file, analysis).templates["id 1"].vector_D, more.templates["id 1"].vector_D)
    # A process that holds the lock for too long is named; the file stays.
    before = file.read_bytes()
    with (
        gallery_lock(file),
        pytest.raises(ValueError, match="another process has been writing"),
        gallery_lock(file, seconds=0.05),
    ):
        pass
    assert file.read_bytes() == before


def test_processes_that_enrol_into_one_file_lose_nobody(analysis, tmp_path):
    fork = multiprocessing.get_context("fork")
    together = fork.Barrier(4)

    def enrol(number: int) -> None:
        together.wait()
        for turn in range(3):
            Gallery.enrol({f"{number} {turn}": face(analysis, number)}, analysis).add_to(tmp_path / "g.npz")

    processes = [fork.Process(target=enrol, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    names = Gallery.load(tmp_path / "g.npz", analysis).names
    assert sorted(names) == [f"{number} {turn}" for number in range(4) for turn in range(3)]


def test_folder_of_photos(routed, photo_of, tmp_path, capfd):
    photos = {"ann/1": ("large", 0, 0), "ann/2": ("large", 64, 64), "bob": ("small", 200, 200), "empty": None}
    for name, marker in photos.items():
        file = tmp_path / f"{name}.jpg"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encode_jpeg(photo_of(*([marker] if marker else []))))
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no image")
    gallery = Gallery.enrol(tmp_path, routed)
    assert {name: (one.n_crops, round(one.px)) for name, one in gallery.templates.items()} == {"ann": (2, 112), "bob": (1, 56)}
    assert gallery.templates["bob"].network == routed.models.students[0].identity
    err = capfd.readouterr().err
    assert "3 images taken" in err and "photos without a face: 1 (empty.jpg)" in err and "unreadable images: 1 (bad.jpg)" in err


def test_folders_without_anybody_are_refused(routed, photo_of, tmp_path):
    with pytest.raises(ValueError, match="has no photo"):
        Gallery.enrol(tmp_path, routed)
    (tmp_path / "nobody.jpg").write_bytes(encode_jpeg(photo_of()))
    with pytest.raises(ValueError, match="no face was found in the photos"):
        Gallery.enrol(tmp_path, routed)
    shutil.copy(tmp_path / "nobody.jpg", tmp_path / "nobody.png")
    with pytest.raises(ValueError, match="several identities named nobody"):
        Gallery.enrol(tmp_path, routed)
    with pytest.raises(FileNotFoundError, match="no folder of photos"):
        Gallery.enrol(tmp_path / "missing", routed)


def test_wrong_names_and_searches_are_refused(analysis, gallery):
    for name, message in (("unknown", "needs a name"), (" ", "needs a name"), ("id 1", "enrolled already")):
        with pytest.raises(ValueError, match=message):
            gallery.add(name, face(analysis, 1))
    with pytest.raises(ValueError, match="no face of 'x' has an embedding"):
        gallery.add("x", [])
    with pytest.raises(ValueError, match="the gallery is empty"):
        Gallery(analysis).search([face(analysis, 1)])
    for options in ({"far": 0}, {"far": 1}, {"top": 0}):
        with pytest.raises(ValueError, match="far must lie between"):
            gallery.search([face(analysis, 1)], **options)
