"""A bank in shards: the arrays of one in single files, whoever builds which shard, and whatever stops a builder."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

from aird_plugin.data import blocks
from aird_plugin.data.bank import shared_tasks
from aird_plugin.data.bank.build import open_image_cache, open_teacher_cache
from aird_plugin.data.bank.sharded import ShardedArray, map_array
from aird_plugin.data.batches import BankFaces, Neighbours
from aird_plugin.data.joined_records import JoinedRecords
from aird_plugin.data.sampler import BatchSampler
from tests.data.bank.conftest import MemoryRecords
from tests.data.bank.test_caches import Killed, Teacher, config

ARRAYS = ("embeddings_NVD", "centers_CD", "same_NS", "hard_NK", "label_N")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 2)
    monkeypatch.setattr(shared_tasks, "POLL_S", 0.01)


def sharded(folder, images=4):
    return config(folder, bank_shard_images=images)


def checksums(folder):
    return {path.parent.name: json.loads(path.read_text())["crc32"] for path in (folder / "bank").glob("*/manifest.json")}


def assert_equal(found, expected, names=ARRAYS):
    for name in names:
        np.testing.assert_array_equal(np.asarray(getattr(found, name)), np.asarray(getattr(expected, name)), err_msg=name)


def test_shards_hold_what_one_file_holds(records, tmp_path):
    for folder in ("one", "many"):
        keys = sharded(tmp_path / folder) if folder == "many" else config(tmp_path / folder)
        open_teacher_cache(keys, records, Teacher()), open_image_cache(keys, records, 16)
    one, many = (open_teacher_cache(keys, records, Teacher()) for keys in (config(tmp_path / "one"), config(tmp_path / "many")))
    assert isinstance(many.embeddings_NVD, ShardedArray) and many.embeddings_NVD.shape == (10, 4, 12)
    assert_equal(many, one)
    low = [open_image_cache(config(tmp_path / folder), records, 16) for folder in ("one", "many")]
    np.testing.assert_array_equal(np.asarray(low[1].low_NJHWC), low[0].low_NJHWC)
    folder = config(tmp_path / "many").teacher_folder
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["centres.npy", "person.npy", "manifest.json", "shards.json", "whole.json", *(f"shard-0000{k}" for k in range(3))]
    )
    assert sorted(path.name for path in (folder / "shard-00002").iterdir()) == sorted(
        ["embeddings.npy", "same.npy", "hard.npy", "manifest.json", "lists.json"]
    )


def test_batches_from_shards_equal_those_from_one_file(records, tmp_path):
    batches = []
    for keys in (sharded(tmp_path / "many"), config(tmp_path / "one")):
        bank, low = open_teacher_cache(keys, records, Teacher()), open_image_cache(keys, records, 16)
        for place in (None, torch.device("cpu")):
            neighbours = Neighbours(bank, 3, "view", place)
            source = BankFaces(BatchSampler(10, 4, 5, seed=1), low, bank, neighbours, device=place)
            batches.append([source[number] for number in range(4)])
    for other in batches[:3]:
        for found, expected in zip(other, batches[3], strict=True):
            for name in ("images_BHWC", "label_B", "teacher_BD", "anchor_BD", "negative_BKD"):
                torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0)


def test_two_processes_share_the_shards(records, tmp_path, monkeypatch):
    open_teacher_cache(sharded(tmp_path / "alone"), records, Teacher())
    teachers, both = [Teacher(), Teacher()], threading.Barrier(2)
    for teacher in teachers:
        first = [True]

        def embed(images, teacher=teacher, first=first):
            if first.pop() if first else False:
                both.wait(20)
            return Teacher.embed(teacher, images)

        teacher.embed = embed
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda teacher: open_teacher_cache(sharded(tmp_path / "both"), records, teacher), teachers))
    assert min(teacher.calls for teacher in teachers) >= 8 and sum(teacher.calls for teacher in teachers) == 40
    assert checksums(tmp_path / "both") == checksums(tmp_path / "alone")


def test_a_dead_process_leaves_its_shard_to_the_others(records, tmp_path):
    open_teacher_cache(sharded(tmp_path / "alone"), records, Teacher())

    with pytest.raises(KeyboardInterrupt):
        open_teacher_cache(sharded(tmp_path / "cut"), records, Killed(24))
    rest = Teacher()
    # A shard that is begun keeps its size.
    open_teacher_cache(sharded(tmp_path / "cut", 3), records, rest)
    assert rest.calls == 16 and checksums(tmp_path / "cut") == checksums(tmp_path / "alone")


def test_a_shard_that_another_process_holds_is_waited_for(records, tmp_path, capsys):
    keys = sharded(tmp_path)
    keys.teacher_folder.mkdir(parents=True)
    lock = FileLock(keys.teacher_folder / "shard-00001.manifest.lock")
    teacher = Teacher()
    with ThreadPoolExecutor(1) as pool:
        with lock:
            waiting = pool.submit(open_teacher_cache, keys, records, teacher)
            while teacher.calls < 24:
                assert not waiting.done()
            assert not waiting.done() and teacher.calls == 24
        waiting.result(20)
    assert teacher.calls == 40 and "waiting for parts that other processes build: 1 left" in capsys.readouterr().err


def test_a_further_set_keeps_the_shards(memory_records, noise_faces, tmp_path):
    first, second = memory_records(), MemoryRecords(noise_faces(10, seed=9))
    for one, name in ((first, "a"), (second, "b")):
        one.fingerprint, one.where, one.left_out = lambda name=name: name, str, SimpleNamespace(left_out={})
    open_teacher_cache(sharded(tmp_path), first, Teacher())
    more, fresh = Teacher(), Teacher()
    grown = open_teacher_cache(sharded(tmp_path), JoinedRecords([first, second]), more)
    whole = open_teacher_cache(sharded(tmp_path / "fresh"), JoinedRecords([first, second]), fresh)
    assert (more.calls, fresh.calls) == (40, 80)
    assert_equal(grown, whole)
    assert checksums(tmp_path) == checksums(tmp_path / "fresh")


def test_two_runs_that_add_different_sets_at_once_do_not_mix_their_rows(memory_records, noise_faces, tmp_path, capsys):
    """The second one waits, and is refused as it would be later. The rows of both were in one bank, under the first's name."""
    sets = [memory_records(), MemoryRecords(noise_faces(10, seed=9)), MemoryRecords(noise_faces(10, seed=11))]
    for number, one in enumerate(sets):
        one.fingerprint, one.where, one.left_out = lambda name=f"set-{number}": name, str, SimpleNamespace(left_out={})
    open_teacher_cache(sharded(tmp_path), sets[0], Teacher())
    began, go_on = threading.Event(), threading.Event()
    first = Teacher()

    def embed(images):
        began.set()
        assert go_on.wait(20)
        return Teacher.embed(first, images)

    first.embed = embed
    with ThreadPoolExecutor(2) as pool:
        building = pool.submit(open_teacher_cache, sharded(tmp_path), JoinedRecords(sets[:2]), first)
        assert began.wait(20)
        other = pool.submit(open_teacher_cache, sharded(tmp_path), JoinedRecords(sets[::2]), Teacher())
        with pytest.raises(TimeoutError):
            other.result(1)
        go_on.set()
        grown = building.result(20)
        with pytest.raises(ValueError, match="is stale: records was"):
            other.result(20)
    assert "another process builds" in capsys.readouterr().err
    assert_equal(grown, open_teacher_cache(sharded(tmp_path / "fresh"), JoinedRecords(sets[:2]), Teacher()))
    assert checksums(tmp_path) == checksums(tmp_path / "fresh") and not list(tmp_path.rglob("*builder*"))


def test_a_build_of_other_images_that_was_killed_is_taken_over(memory_records, noise_faces, tmp_path):
    first, second = memory_records(), MemoryRecords(noise_faces(10, seed=9))
    second.fingerprint = lambda: "records-2"
    with pytest.raises(KeyboardInterrupt):
        open_teacher_cache(sharded(tmp_path), first, Killed(24))
    left = config(tmp_path).teacher_folder.with_name("teacher-v4.builder-other.0123.lock")
    left.touch()
    teacher = Teacher()
    bank = open_teacher_cache(sharded(tmp_path), second, teacher)
    assert teacher.calls == 40 and not left.exists()
    assert_equal(bank, open_teacher_cache(sharded(tmp_path / "fresh"), second, Teacher()))


def test_a_build_goes_on_from_an_image_that_was_mended(records, tmp_path):
    payload = records.payload
    records.payload = lambda row: b"no image" if row == 7 else payload(row)
    with pytest.raises(ValueError, match="image 7 of memory"):
        open_teacher_cache(sharded(tmp_path), records, Teacher())
    mended = type(records)(records.images)
    mended.fingerprint = lambda: "records-2"
    teacher = Teacher()
    bank = open_teacher_cache(sharded(tmp_path), mended, teacher)
    # Images 0 to 5 are kept; 6 and 7 are one block.
    assert teacher.calls == 16
    fresh = open_teacher_cache(sharded(tmp_path / "fresh"), mended, Teacher())
    assert_equal(bank, fresh)


def test_shards_of_images_that_are_gone_are_removed(records, tmp_path):
    payload = records.payload
    records.payload = lambda row: payload(row) if row < 9 else b"no image"
    with pytest.raises(ValueError, match="image 9 of memory"):
        open_teacher_cache(sharded(tmp_path), records, Teacher())
    fewer = type(records)(records.images[:7])
    fewer.fingerprint, fewer.labels = lambda: "records-2", records.labels[:7]
    teacher = Teacher()
    bank = open_teacher_cache(sharded(tmp_path), fewer, teacher)
    assert teacher.calls == 0 and len(bank.embeddings_NVD) == 7
    assert_equal(bank, open_teacher_cache(sharded(tmp_path / "fresh"), fewer, Teacher()))


def test_a_begun_bank_of_another_teacher_is_removed(records, tmp_path):
    records.payload, payload = lambda row: payload(row) if row < 5 else b"", records.payload
    with pytest.raises(ValueError):
        open_teacher_cache(sharded(tmp_path), records, Teacher("teacher-0"))
    teacher = Teacher()
    with pytest.raises(ValueError):
        open_teacher_cache(sharded(tmp_path), records, teacher)
    assert teacher.calls == 16


def test_hard_negatives_of_a_large_set_are_searched_in_a_sample(records, tmp_path):
    keys = sharded(tmp_path)
    exact = open_teacher_cache(keys, records, Teacher())
    assert "bank_searched" not in exact.manifest["inputs"]
    # A bank with lists over all images serves; a new one has lists of the sample.
    assert open_teacher_cache(replace(keys, bank_searched=6), records, Teacher()).manifest == exact.manifest
    for name, shard_images in (("shards", 4), ("file", 99)):
        keys = sharded(tmp_path / name, shard_images)
        sampled = open_teacher_cache(replace(keys, bank_searched=6), records, Teacher())
        assert sampled.manifest["inputs"]["bank_searched"] == 6
        listed = set(np.asarray(sampled.hard_NK).ravel()) - {-1}
        assert 2 < len(listed) <= 6 < len(set(np.asarray(exact.hard_NK).ravel()))
        assert not list((tmp_path / name).rglob("searched*"))
        with pytest.raises(ValueError, match="bank_searched was 6, now 7"):
            open_teacher_cache(replace(keys, bank_searched=7), records, Teacher())


def test_damaged_shards_are_named(records, tmp_path):
    bank = open_teacher_cache(sharded(tmp_path), records, Teacher())
    path = config(tmp_path).teacher_folder / "shard-00001" / "embeddings.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"shard-00001/embeddings.npy is missing or damaged \(its bytes have changed since\)"):
        open_teacher_cache(sharded(tmp_path), records, Teacher())
    path.write_bytes(data[:-5])
    with pytest.raises(ValueError, match="shard-00001/embeddings.npy is missing or damaged"):
        type(bank)(config(tmp_path).teacher_folder, {})


def test_shard_size_is_checked(tmp_path):
    with pytest.raises(ValueError, match="bank_shard_images must be 1 or more; got 0"):
        replace(config(tmp_path), bank_shard_images=0)


def test_sharded_arrays_index_as_numpy():
    whole = np.random.default_rng(0).integers(0, 99, (11, 4, 3))
    parts = ShardedArray([whole[:4], whole[4:8], whole[8:]])
    rows, views = np.array([[9, 0, 4], [7, 3, 10]]), np.array([[1, 3, 0], [0, 2, 1]])
    for index in (
        5, slice(2, 9), slice(4, 8), slice(9, 40), slice(3, 3), slice(None, 5), rows, rows[0], rows[:0, 0],
        (rows, views), (rows, 2), (rows, 0, 1), (slice(3, 9), 0), (rows[0], slice(1, 3)), (rows[:, :, None], np.arange(4)),
    ):  # fmt: skip
        np.testing.assert_array_equal(parts[index], whole[index], err_msg=str(index))
    lazy = parts[:, None, :2]
    assert isinstance(lazy, ShardedArray) and lazy.shape == (11, 1, 2, 3) and lazy.nbytes == whole[:, None, :2].nbytes
    np.testing.assert_array_equal(lazy[rows], whole[:, None, :2][rows])


def test_mapped_files_stay_unchanged_and_closed(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float16).reshape(3, 2))
    mapped = map_array(tmp_path / "x.npy")
    mapped[0] = 7
    assert mapped.dtype == np.float16 and mapped[1:].tolist() == [[2, 3], [4, 5]]
    assert np.load(tmp_path / "x.npy")[0].tolist() == [0, 1]
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "PNG")
    (tmp_path / "x.npy").write_bytes(out.getvalue())
    with pytest.raises(ValueError):
        map_array(tmp_path / "x.npy")
