"""An index of record files gives what the files give, and counts only while they are unchanged."""

import os
import pickle

import numpy as np
import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.data import indexed_records
from aird_plugin.data.indexed_records import IndexedRecords, open_indexed, write_index
from aird_plugin.data.joined_records import source_prints
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records
from aird_plugin.training.bank import build_bank
from aird_plugin.training.data import open_faces


@pytest.fixture(autouse=True)
def indexed_above_three(monkeypatch):
    monkeypatch.setattr(indexed_records, "INDEXED_ABOVE", 3)


@pytest.fixture
def sets(tmp_path):
    for name, labels in (("a", [0, 0, 1]), ("b", [0, 1, 1, 2])):
        write_face_records(tmp_path / name, ((label, f"{name}{n}".encode() * 5) for n, label in enumerate(labels)))
    return str(tmp_path / "a"), str(tmp_path / "b")


@pytest.mark.parametrize("several", [True, False])
def test_an_index_gives_what_the_files_give(sets, tmp_path, several):
    rec = sets if several else sets[1]
    records = open_records(rec)
    assert write_index(str(tmp_path / "bank"), records, rec)
    found = open_indexed(str(tmp_path / "bank"), rec)
    for indexed in (found, pickle.loads(pickle.dumps(found))):
        assert len(indexed) == len(records) and indexed.num_classes == records.num_classes and indexed.path == str(records.path)
        np.testing.assert_array_equal(indexed.labels, records.labels)
        assert [indexed.payload(row) for row in range(len(records))] == [records.payload(row) for row in range(len(records))]
        assert indexed.fingerprint() == records.fingerprint() and source_prints(indexed) == source_prints(records)
        assert f"{indexed.files[0]} record at byte {found.offset_N[2]}" == indexed.where(2)
    assert found.labels.dtype == np.int32 and found.left_out.line() is None


def test_a_changed_file_has_no_index(sets, tmp_path):
    write_index(str(tmp_path / "bank"), open_records(sets), sets)
    assert open_indexed(str(tmp_path / "bank"), sets) is not None
    assert open_indexed(str(tmp_path / "bank"), sets[::-1]) is None and open_indexed(str(tmp_path / "other"), sets) is None
    path = tmp_path / "b" / "train.rec"
    os.utime(path, ns=(0, 0))
    assert open_indexed(str(tmp_path / "bank"), sets) is None


def test_a_small_set_and_a_folder_have_no_index(sets, tmp_path, noise_faces):
    from PIL import Image

    assert not write_index(str(tmp_path / "bank"), open_records(sets[0]), sets[0])
    (tmp_path / "flat").mkdir()
    for n, image in enumerate(noise_faces(5)):
        Image.fromarray(image).save(tmp_path / "flat" / f"{n}.png")
    assert not write_index(str(tmp_path / "bank"), open_records(str(tmp_path / "flat")), str(tmp_path / "flat"))
    assert not (tmp_path / "bank").exists()


def test_a_run_opens_the_index_and_the_bank_command_the_files(tiny_run, tmp_path):
    recipe = from_flat(tiny_run | {"bank": str(tmp_path / "bank"), "output": str(tmp_path / "run")})
    build_bank(recipe)
    records, _ = open_faces(recipe)
    assert isinstance(records, IndexedRecords)
    build_bank(recipe)
    reread, resolved = open_faces(recipe, reread=True)
    assert not isinstance(reread, IndexedRecords) and resolved.head.num_classes == 8
    assert reread.fingerprint() == records.fingerprint()
