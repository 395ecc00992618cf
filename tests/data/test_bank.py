import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from aird_plugin.data import bank_build
from aird_plugin.data.bank import BankConfig, read_manifest
from aird_plugin.data.bank_build import found_or_built, open_low_bank, open_teacher_bank
from aird_plugin.data.bank_files import Build
from aird_plugin.data.degrade import named, shrink
from aird_plugin.data.faces import open_records
from aird_plugin.data.lowres import low_faces
from aird_plugin.data.views import view_of

PEOPLE = np.repeat([0, 1, 2, 3], [3, 1, 4, 2])


class Records:
    """Ten faces in memory."""

    path = "memory"
    labels = PEOPLE
    num_classes = 4

    def __init__(self, faces):
        self.faces = faces

    def __len__(self):
        return len(self.faces)

    def payload(self, row):
        import io

        from PIL import Image

        out = io.BytesIO()
        Image.fromarray(self.faces[row]).save(out, "PNG")
        return out.getvalue()

    def fingerprint(self):
        return "records-1"


class Teacher:
    """Mean colours of a 2 x 2 grid: sees the flip."""

    dim, classifier = 12, None

    def __init__(self, name="teacher-1"):
        self.name, self.calls = name, 0

    def embed(self, faces_NHWC):
        self.calls += len(faces_NHWC)
        grid = faces_NHWC.reshape(-1, 2, 56, 2, 56, 3).astype(np.float32).mean((2, 4))
        return grid.reshape(len(faces_NHWC), -1) - 100

    def describe(self):
        return {"sha256": self.name}


@pytest.fixture
def records(noise_faces):
    return Records(noise_faces(10, seed=3))


def config(folder, **keys):
    return BankConfig(bank=str(folder / "bank"), views=4, bank_same=3, bank_hard=5, **keys)


def test_embeddings_are_the_teachers_on_every_view(records, tmp_path):
    bank = open_teacher_bank(config(tmp_path), records, Teacher())
    assert bank.embeddings_NVD.shape == (10, 4, 12) and bank.embeddings_NVD.dtype == np.float16
    for row, view in ((0, 0), (4, 1), (9, 2), (9, 3)):
        expected = Teacher().embed(view_of(records.faces[row], row, view)[None])[0]
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(bank.embeddings(np.array([row]), np.array([view]))[0], expected, atol=1e-3)


def test_low_faces_are_the_one_resize_of_every_view(records, tmp_path):
    bank = open_low_bank(config(tmp_path), records, 16)
    for view in range(4):
        expected = np.stack([low_faces(view_of(records.faces[r], r, view)[None], 16, grow=False)[0] for r in range(10)])
        np.testing.assert_array_equal(bank.faces(np.arange(10), np.full(10, view)), expected)


@pytest.mark.parametrize(("degradation", "folder"), [("insightface-warp", "low16-v4"), ("jpeg", "low16-jpeg-v4")])
def test_low_faces_of_another_camera_have_a_folder_of_their_own(records, tmp_path, degradation, folder):
    """What only arrives otherwise shares the folder with the one resize."""
    bank = open_low_bank(config(tmp_path), records, 16, degradation)
    assert [path.name for path in tmp_path.rglob("low16*") if path.is_dir()] == [folder]
    high = np.stack([view_of(records.faces[r], r, 2) for r in range(10)])
    np.testing.assert_array_equal(bank.faces(np.arange(10), np.full(10, 2)), shrink(high, 16, degradation))
    assert bank.manifest["inputs"]["resize"] == named(degradation).version


def test_lists_name_the_same_person_and_hard_strangers(records, tmp_path):
    bank = open_teacher_bank(config(tmp_path), records, Teacher())
    for row in range(10):
        same = [r for r in bank.same_NS[row] if r >= 0]
        assert all(PEOPLE[r] == PEOPLE[row] and r != row for r in same)
        assert len(same) == min(3, (PEOPLE == PEOPLE[row]).sum() - 1)
        assert all(PEOPLE[r] != PEOPLE[row] for r in bank.hard_NK[row])
    np.testing.assert_allclose(np.linalg.norm(bank.centres_CD, axis=1), 1, atol=1e-5)


def test_a_checkpoints_own_head_is_preferred_where_it_fits(records, tmp_path):
    teacher = Teacher()
    teacher.classifier = np.eye(4, 12, dtype=np.float32) * 3
    np.testing.assert_allclose(open_teacher_bank(config(tmp_path), records, teacher).centres_CD, np.eye(4, 12))


def test_a_second_opening_computes_nothing(records, tmp_path):
    open_teacher_bank(config(tmp_path), records, Teacher())
    again = Teacher()
    open_teacher_bank(config(tmp_path), records, again)
    assert again.calls == 0


def test_an_interrupted_build_goes_on_where_it_stopped(records, tmp_path, monkeypatch):
    monkeypatch.setattr(bank_build, "BLOCK", 3)
    whole = open_teacher_bank(config(tmp_path / "whole"), records, Teacher())

    class Killed(Teacher):
        def embed(self, faces_NHWC):
            if self.calls >= 24:
                raise KeyboardInterrupt
            return super().embed(faces_NHWC)

    with pytest.raises(KeyboardInterrupt):
        open_teacher_bank(config(tmp_path / "cut"), records, Killed())
    state = json.loads((config(tmp_path / "cut").teacher_folder / "building.json").read_text())
    assert state["rows_done"] == 6
    rest = Teacher()
    bank = open_teacher_bank(config(tmp_path / "cut"), records, rest)
    assert rest.calls == 4 * 4
    for name in ("embeddings_NVD", "centres_CD", "same_NS", "hard_NK"):
        np.testing.assert_array_equal(getattr(bank, name), getattr(whole, name))


def test_an_interrupted_build_of_other_inputs_starts_again(records, tmp_path, monkeypatch):
    monkeypatch.setattr(bank_build, "BLOCK", 3)

    class Killed(Teacher):
        def embed(self, faces_NHWC):
            if self.calls >= 12:
                raise KeyboardInterrupt
            return super().embed(faces_NHWC)

    with pytest.raises(KeyboardInterrupt):
        open_teacher_bank(config(tmp_path), records, Killed("teacher-0"))
    other = Teacher("teacher-1")
    open_teacher_bank(config(tmp_path), records, other)
    assert other.calls == 40


@pytest.mark.parametrize(("change", "words"), [
    (lambda r, c: (r, Teacher("teacher-2"), c), "teacher was teacher-1, now teacher-2"),
    (lambda r, c: (r, Teacher(), replace(c, view_seed=1)), "view_seed was 0, now 1"),
    (lambda r, c: (r, Teacher(), replace(c, bank_hard=6)), "bank_hard was 5, now 6"),
])  # fmt: skip
def test_a_stale_bank_is_refused_by_name_of_what_changed(records, tmp_path, change, words):
    open_teacher_bank(config(tmp_path), records, Teacher())
    changed_records, teacher, keys = change(records, config(tmp_path))
    with pytest.raises(ValueError, match=f"stale: {words}"):
        open_teacher_bank(keys, changed_records, teacher)


def test_other_records_make_the_low_half_stale_too(records, tmp_path):
    open_low_bank(config(tmp_path), records, 16)
    records.fingerprint = lambda: "records-2"
    with pytest.raises(ValueError, match="records was records-1, now records-2"):
        open_low_bank(config(tmp_path), records, 16)


def test_another_px_costs_no_teacher_pass(records, tmp_path):
    open_teacher_bank(config(tmp_path), records, Teacher())
    assert open_low_bank(config(tmp_path), records, 32).low_NJHWC.shape == (10, 2, 32, 32, 3)


def test_a_cut_array_is_told_with_what_to_do(records, tmp_path):
    open_teacher_bank(config(tmp_path), records, Teacher())
    path = config(tmp_path).teacher_folder / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="embeddings.npy is missing or damaged .*; remove .* and build the bank again"):
        open_teacher_bank(config(tmp_path), records, Teacher())


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"inputs": 1}', '{"inputs": null}', "[" * 100_000, "\udcff"])
def test_a_broken_manifest_is_told(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="no bank manifest"):
        read_manifest(tmp_path, {})


def test_a_teacher_that_gives_nan_is_refused(records, tmp_path):
    teacher = SimpleNamespace(dim=12, classifier=None, describe=lambda: {"sha256": "x"},
                              embed=lambda faces: np.full((len(faces), 12), np.nan, np.float32))
    with pytest.raises(ValueError, match="not finite"):
        open_teacher_bank(config(tmp_path), records, teacher)


def test_faces_of_another_size_are_refused(noise_faces, tmp_path):
    with pytest.raises(ValueError, match="face 0 of memory is 96x96, but training needs aligned 112x112"):
        open_low_bank(config(tmp_path), Records(noise_faces(10, side=96)), 16)


def test_open_records_says_what_it_looks_for(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder or .rec"):
        open_records(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="neither train.rec nor subfolders"):
        open_records(str(tmp_path))


def test_a_folder_of_images_is_a_data_set(noise_faces, tmp_path):
    from PIL import Image

    for name, count in (("zoe", 1), ("ann", 2)):
        (tmp_path / name).mkdir()
        for n, face in enumerate(noise_faces(count, seed=len(name))):
            Image.fromarray(face).save(tmp_path / name / f"{n}.png")
    (tmp_path / "zoe" / "notes.txt").write_text("no face")
    records = open_records(str(tmp_path))
    assert list(records.labels) == [0, 0, 1] and records.names == ["ann", "zoe"] and records.num_classes == 2
    before = records.fingerprint()
    Image.fromarray(noise_faces(1, seed=9)[0]).save(tmp_path / "ann" / "0.png")
    assert open_records(str(tmp_path)).fingerprint() != before
    assert open_low_bank(config(tmp_path), records, 16).person_N.tolist() == [0, 0, 1]


def test_of_two_who_want_a_part_one_builds_and_the_other_waits(tmp_path, capsys):
    folder, begun, go = tmp_path / "bank" / "part", threading.Event(), threading.Event()

    def build():
        begun.set()
        assert go.wait(20)
        return Build(folder, {"a": 1}, {}).finish({"by": "the first"})

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(found_or_built, folder, {"a": 1}, build)
        assert begun.wait(20)
        second = pool.submit(found_or_built, folder, {"a": 1}, lambda: pytest.fail("built twice"))
        time.sleep(0.2)
        assert not second.done()
        go.set()
        assert first.result(20)["by"] == second.result(20)["by"] == "the first"
    assert f"another process builds {folder}: waiting" in capsys.readouterr().err
    with pytest.raises(ValueError, match="stale: a was 1, now 2"):
        found_or_built(folder, {"a": 2}, build)


def test_a_failed_build_leaves_the_way_free(tmp_path):
    def broken():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        found_or_built(tmp_path / "part", {}, broken)
    assert found_or_built(tmp_path / "part", {}, lambda: {"inputs": {}}) == {"inputs": {}}


def test_any_number_of_decoding_threads_writes_the_same_files(records, tmp_path, monkeypatch):
    monkeypatch.setattr(bank_build, "BLOCK", 3)
    sums = []
    for threads in (1, 5):
        monkeypatch.setattr(bank_build.torch, "get_num_threads", lambda count=threads: count)
        bank = config(tmp_path / str(threads))
        halves = open_low_bank(bank, records, 16), open_teacher_bank(bank, records, Teacher())
        sums.append([half.manifest["crc32"] for half in halves])
    assert sums[0] == sums[1] and {"low.npy", "person.npy"} <= set(sums[0][0]) and "hard.npy" in sums[0][1]
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_a_face_that_cannot_be_read_is_named_and_leaves_no_thread(records, tmp_path):
    payload = records.payload
    records.payload = lambda row: b"no picture" if row == 7 else payload(row)
    with pytest.raises(ValueError, match="face 7 of memory"):
        open_low_bank(config(tmp_path), records, 16)
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())
