import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aird_plugin.data import blocks
from aird_plugin.data.bank.build import open_image_cache, open_teacher_cache
from aird_plugin.data.bank.config import BankConfig
from aird_plugin.data.bank.files import Build
from aird_plugin.data.bank.inputs import read_manifest, teacher_cache_inputs
from aird_plugin.data.bank.open_or_build import open_or_build
from aird_plugin.data.degradation import downsample, get_degradation
from aird_plugin.data.joined_records import JoinedRecords
from aird_plugin.data.lowres import low_faces
from aird_plugin.data.records import WithoutLabels, decode_face, open_records
from aird_plugin.data.views import jitter


def view_of(image_HWC, row, view):
    """A view by its definition: jitter view // 2, mirrored where the view is odd."""
    jittered_HWC = jitter(image_HWC, row, view // 2)
    return np.ascontiguousarray(jittered_HWC[:, ::-1]) if view % 2 else jittered_HWC


class Teacher:
    """Mean colors of a 2 x 2 grid; sensitive to the flip."""

    dim, classifier = 12, None

    def __init__(self, name="teacher-1"):
        self.name, self.calls = name, 0

    def embed(self, images_NHWC):
        self.calls += len(images_NHWC)
        grid = images_NHWC.reshape(-1, 2, 56, 2, 56, 3).astype(np.float32).mean((2, 4))
        return grid.reshape(len(images_NHWC), -1) - 100

    def describe(self):
        return {"sha256": self.name}


class Killed(Teacher):
    """A teacher whose process is stopped once it has embedded this many images."""

    def __init__(self, after: int, name="teacher-1"):
        super().__init__(name)
        self.after = after

    def embed(self, images_NHWC):
        if self.calls >= self.after:
            raise KeyboardInterrupt
        return super().embed(images_NHWC)


def config(folder, **keys):
    return BankConfig(bank=str(folder / "bank"), views=4, bank_same=3, bank_hard=5, **keys)


def test_embeddings_match_the_teacher_on_every_view(records, tmp_path):
    bank = open_teacher_cache(config(tmp_path), records, Teacher())
    assert bank.embeddings_NVD.shape == (10, 4, 12) and bank.embeddings_NVD.dtype == np.float16
    for row, view in ((0, 0), (4, 1), (9, 2), (9, 3)):
        expected = Teacher().embed(view_of(records.images[row], row, view)[None])[0]
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(bank.embeddings(np.array([row]), np.array([view]))[0], expected, atol=1e-3)


def test_an_open_bank_stays_as_it_is_while_another_run_adds_a_training_set(memory_records, tmp_path):
    first, second = memory_records(), memory_records()
    for one, name in ((first, "a"), (second, "b")):
        one.fingerprint, one.where, one.left_out = lambda name=name: name, str, SimpleNamespace(left_out={})
    names = ("embeddings_NVD", "centers_CD", "same_NS", "hard_NK", "label_N")
    bank = open_teacher_cache(config(tmp_path), first, Teacher())
    images = open_image_cache(config(tmp_path), first, 16)
    before = {name: np.array(getattr(open_teacher_cache(config(tmp_path), first, Teacher()), name)) for name in names}
    both = JoinedRecords([first, second])
    assert len(open_teacher_cache(config(tmp_path), both, Teacher()).label_N) == 20
    assert len(open_image_cache(config(tmp_path), both, 16).label_N) == 20
    for name in names:
        np.testing.assert_array_equal(getattr(bank, name), before[name], err_msg=name)
    np.testing.assert_array_equal(images.label_N, first.labels)


def test_lr_images_match_the_reference_resize_of_every_view(records, tmp_path):
    bank = open_image_cache(config(tmp_path), records, 16)
    for view in range(4):
        expected = np.stack([low_faces(view_of(records.images[r], r, view)[None], 16, grow=False)[0] for r in range(10)])
        np.testing.assert_array_equal(bank.faces(np.arange(10), np.full(10, view)), expected)


@pytest.mark.parametrize(("degradation", "folder"), [("insightface-warp", "low16-v4"), ("jpeg", "low16-jpeg-v4")])
def test_lr_images_of_another_degradation_have_their_own_folder(records, tmp_path, degradation, folder):
    """A degradation that changes only the upsampling shares the folder of the reference resize."""
    bank = open_image_cache(config(tmp_path), records, 16, degradation)
    assert [path.name for path in tmp_path.rglob("low16*") if path.is_dir()] == [folder]
    hr = np.stack([view_of(records.images[r], r, 2) for r in range(10)])
    np.testing.assert_array_equal(bank.faces(np.arange(10), np.full(10, 2)), downsample(hr, 16, degradation))
    assert bank.manifest["inputs"]["resize"] == get_degradation(degradation).version


def test_lists_hold_the_same_identity_and_hard_negatives(records, tmp_path):
    bank = open_teacher_cache(config(tmp_path), records, Teacher())
    for row in range(10):
        same = [r for r in bank.same_NS[row] if r >= 0]
        assert all(records.labels[r] == records.labels[row] and r != row for r in same)
        assert len(same) == min(3, (records.labels == records.labels[row]).sum() - 1)
        assert all(records.labels[r] != records.labels[row] for r in bank.hard_NK[row])
    np.testing.assert_allclose(np.linalg.norm(bank.centers_CD, axis=1), 1, atol=1e-5)


def test_reopening_computes_nothing(records, tmp_path):
    open_teacher_cache(config(tmp_path), records, Teacher())
    reopened = Teacher()
    open_teacher_cache(config(tmp_path), records, reopened)
    assert reopened.calls == 0


def test_an_interrupted_build_resumes(records, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 3)
    whole = open_teacher_cache(config(tmp_path / "whole"), records, Teacher())

    with pytest.raises(KeyboardInterrupt):
        open_teacher_cache(config(tmp_path / "cut"), records, Killed(24))
    state = json.loads((config(tmp_path / "cut").teacher_folder / "building.json").read_text())
    assert state["rows_done"] == 6
    rest = Teacher()
    bank = open_teacher_cache(config(tmp_path / "cut"), records, rest)
    assert rest.calls == 4 * 4
    for name in ("embeddings_NVD", "centers_CD", "same_NS", "hard_NK"):
        np.testing.assert_array_equal(getattr(bank, name), getattr(whole, name))


def test_an_interrupted_build_of_other_inputs_restarts(records, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 3)

    with pytest.raises(KeyboardInterrupt):
        open_teacher_cache(config(tmp_path), records, Killed(12, "teacher-0"))
    other = Teacher("teacher-1")
    open_teacher_cache(config(tmp_path), records, other)
    assert other.calls == 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r, c: (r, Teacher("teacher-2"), c), "teacher was teacher-1, now teacher-2"),
        (lambda r, c: (r, Teacher(), replace(c, view_seed=1)), "view_seed was 0, now 1"),
        (lambda r, c: (r, Teacher(), replace(c, bank_hard=6)), "bank_hard was 5, now 6"),
    ],
)
def test_a_stale_bank_is_rejected_naming_the_change(records, tmp_path, change, words):
    open_teacher_cache(config(tmp_path), records, Teacher())
    changed_records, teacher, keys = change(records, config(tmp_path))
    with pytest.raises(ValueError, match=f"stale: {words}"):
        open_teacher_cache(keys, changed_records, teacher)


def test_other_records_make_the_image_cache_stale(records, tmp_path):
    open_image_cache(config(tmp_path), records, 16)
    records.fingerprint = lambda: "records-2"
    with pytest.raises(ValueError, match="records was records-1, now records-2"):
        open_image_cache(config(tmp_path), records, 16)


def test_another_px_needs_no_teacher_forward(records, tmp_path):
    open_teacher_cache(config(tmp_path), records, Teacher())
    assert open_image_cache(config(tmp_path), records, 32).low_NJHWC.shape == (10, 2, 32, 32, 3)


def test_a_truncated_array_is_reported_with_a_remedy(records, tmp_path):
    open_teacher_cache(config(tmp_path), records, Teacher())
    path = config(tmp_path).teacher_folder / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="embeddings.npy is missing or damaged .*; remove .* and build the bank again"):
        open_teacher_cache(config(tmp_path), records, Teacher())


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"inputs": 1}', '{"inputs": null}', "[" * 100_000, "\udcff"])
def test_a_broken_manifest_is_reported(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="no bank manifest"):
        read_manifest(tmp_path, {})


def test_nan_embeddings_are_rejected(records, tmp_path):
    teacher = SimpleNamespace(
        dim=12,
        classifier=None,
        describe=lambda: {"sha256": "x"},
        embed=lambda images: np.full((len(images), 12), np.nan, np.float32),
    )
    with pytest.raises(ValueError, match="not finite"):
        open_teacher_cache(config(tmp_path), records, teacher)


def test_images_of_another_size_are_rejected(memory_records, tmp_path):
    with pytest.raises(ValueError, match="image 0 of memory is 96x96, but training needs aligned 112x112"):
        open_image_cache(config(tmp_path), memory_records(side=96), 16)


def test_open_records_reports_missing_data(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder or .rec"):
        open_records(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="neither train.rec nor subfolders"):
        open_records(str(tmp_path))


def test_a_folder_of_images_is_a_training_set(noise_faces, tmp_path):
    from PIL import Image

    for name, count in (("zoe", 1), ("ann", 2)):
        (tmp_path / name).mkdir()
        for n, image in enumerate(noise_faces(count, seed=len(name))):
            Image.fromarray(image).save(tmp_path / name / f"{n}.png")
    (tmp_path / "zoe" / "notes.txt").write_text("no image")
    records = open_records(str(tmp_path))
    assert list(records.labels) == [0, 0, 1] and records.names == ["ann", "zoe"] and records.num_classes == 2
    before = records.fingerprint()
    Image.fromarray(noise_faces(1, seed=9)[0]).save(tmp_path / "ann" / "0.png")
    assert open_records(str(tmp_path)).fingerprint() != before
    assert open_image_cache(config(tmp_path), records, 16).label_N.tolist() == [0, 0, 1]


def save_images(folder, images) -> None:
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for n, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{n:02d}.png")


def test_a_flat_folder_is_a_training_set_without_labels(noise_faces, tmp_path):
    images = noise_faces(12)
    save_images(tmp_path / "flat", images)
    (tmp_path / "flat" / "align.csv").write_text("no image")
    (tmp_path / "flat" / "empty.jpg").mkdir()
    records = open_records(str(tmp_path / "flat"))
    assert records.labels.tolist() == [-1] * 12 and records.num_classes == 0 and len(records) == 12
    assert np.array_equal(decode_face(records, 7), images[7])
    bank = open_teacher_cache(config(tmp_path), records, Teacher())
    assert bank.centers_CD.shape == (0, 12) and (bank.label_N == -1).all()
    assert bank.same_NS.shape == bank.hard_NK.shape == (12, 0)


def test_images_beside_identities_are_rejected(noise_faces, tmp_path):
    save_images(tmp_path / "mixed", noise_faces(2))
    save_images(tmp_path / "mixed" / "ann", noise_faces(2, seed=1))
    with pytest.raises(ValueError, match=r"holds 2 images \(00.png\) beside 1 subfolders"):
        open_records(str(tmp_path / "mixed"))


def test_a_flat_folder_of_other_sizes_is_rejected(noise_faces, tmp_path):
    save_images(tmp_path / "flat", noise_faces(3, side=96))
    with pytest.raises(ValueError, match="flat/00.png is 96x96, but training needs aligned 112x112"):
        open_image_cache(config(tmp_path), open_records(str(tmp_path / "flat")), 16)


def test_hidden_labels_stay_in_the_bank(tmp_path, tiny_run):
    records = open_records(tiny_run["rec"])
    hidden = WithoutLabels(records)
    assert hidden.labels.tolist() == [-1] * 48 and hidden.fingerprint() == records.fingerprint()
    assert hidden.payload(3) == records.payload(3)
    cache = open_image_cache(config(tmp_path), hidden, 16)
    assert np.array_equal(cache.label_N, records.labels)
    cache.hide_labels()
    assert (cache.label_N == -1).all()
    assert np.array_equal(open_image_cache(config(tmp_path), records, 16).label_N, records.labels)


def test_two_processes_build_a_cache_once(tmp_path, capsys):
    folder, begun, go = tmp_path / "bank" / "cache", threading.Event(), threading.Event()

    def build():
        begun.set()
        assert go.wait(20)
        return Build(folder, {"a": 1}, {}).finish({"by": "the first"})

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(open_or_build, folder, {"a": 1}, build)
        assert begun.wait(20)
        second = pool.submit(open_or_build, folder, {"a": 1}, lambda: pytest.fail("built twice"))
        time.sleep(0.2)
        assert not second.done()
        go.set()
        assert first.result(20)["by"] == second.result(20)["by"] == "the first"
    assert f"another process builds {folder}; waiting" in capsys.readouterr().err
    with pytest.raises(ValueError, match="stale: a was 1, now 2"):
        open_or_build(folder, {"a": 2}, build)


def test_a_failed_build_releases_the_lock(tmp_path):
    def broken():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        open_or_build(tmp_path / "cache", {}, broken)
    assert open_or_build(tmp_path / "cache", {}, lambda: {"inputs": {}}) == {"inputs": {}}


def test_files_do_not_depend_on_the_number_of_decoding_threads(records, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 3)
    sums = []
    for threads in (1, 5):
        monkeypatch.setattr(blocks.torch, "get_num_threads", lambda count=threads: count)
        bank = config(tmp_path / str(threads))
        caches = open_image_cache(bank, records, 16), open_teacher_cache(bank, records, Teacher())
        sums.append([cache.manifest["crc32"] for cache in caches])
    assert sums[0] == sums[1] and {"low.npy", "person.npy"} <= set(sums[0][0]) and "hard.npy" in sums[0][1]
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


def test_an_unreadable_image_is_named_and_leaves_no_thread(records, tmp_path):
    payload = records.payload
    records.payload = lambda row: b"no image" if row == 7 else payload(row)
    with pytest.raises(ValueError, match="image 7 of memory"):
        open_image_cache(config(tmp_path), records, 16)
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())


class JoinedTeacher(Teacher):
    """Two teachers, their normalised embeddings side by side."""

    def __init__(self, *teachers):
        super().__init__("+".join(teacher.name for teacher in teachers))
        self.teachers, self.dim = teachers, 12 * len(teachers)

    def joined(self, embeddings):
        units = [part / part.norm(dim=-1, keepdim=True) for part in embeddings]
        return torch.cat(units, -1) / len(units) ** 0.5

    def embed(self, images_NHWC):
        return self.joined([torch.from_numpy(one.embed(images_NHWC)) for one in self.teachers]).numpy()


def test_ensemble_is_built_from_parts_that_stay(records, tmp_path):
    first, second, third = Teacher("a"), Teacher("b"), Teacher("c")
    bank = open_teacher_cache(config(tmp_path), records, JoinedTeacher(first, second))
    expected = JoinedTeacher(first, second).embed(view_of(records.images[4], 4, 1)[None])[0]
    # Parts and result are float16: 2**-11 of a value below 1, twice.
    np.testing.assert_allclose(bank.embeddings_NVD[4, 1], expected, rtol=0, atol=2**-10)
    calls = first.calls, second.calls
    shutil.rmtree(config(tmp_path).teacher_folder)
    open_teacher_cache(config(tmp_path), records, JoinedTeacher(first, second, third))
    assert (first.calls, second.calls) == calls and third.calls == 40
    assert len(list((tmp_path / "bank").glob("part-*-v4/manifest.json"))) == 3


def test_another_input_of_the_teacher_makes_the_bank_stale_in_both_directions(records, tmp_path):
    usual, fed = Teacher(), Teacher()
    fed.describe = lambda: {"sha256": "teacher-1", "input": {"color": "bgr"}}
    for folder, one, other in ((tmp_path / "1", usual, fed), (tmp_path / "2", fed, usual)):
        open_teacher_cache(config(folder), records, one)
        open_teacher_cache(config(folder), records, one)
        with pytest.raises(ValueError, match="stale: teacher_input was"):
            open_teacher_cache(config(folder), records, other)


def test_inputs_of_a_usual_teacher_are_those_of_older_banks():
    inputs = teacher_cache_inputs(BankConfig(), "records", 3, {"sha256": "a"})
    assert "teacher_input" not in inputs and inputs["teacher"] == "a"
