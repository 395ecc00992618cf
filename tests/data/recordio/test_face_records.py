"""Images and labels in the layouts of InsightFace and im2rec."""

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from aird_plugin.data.recordio import RecordReader, RecordWriter
from aird_plugin.data.recordio.face_records import FaceRecords, first_identity_key, write_face_records

FIXTURES = Path(__file__).parents[1] / "mxnet"
LABELS = [0, 0, 0, 1, 2, 2]


def items(labels=LABELS):
    return [(label, b"face %d" % key) for key, label in enumerate(labels, 1)]


def write(path, records):
    with RecordWriter(path) as writer:
        for row in records:
            writer.write(*row)
    return path


@pytest.mark.parametrize(
    "name, keys, labels",
    [
        ("insightface", range(1, 7), LABELS),
        ("im2rec", range(5), [1, 3, 4, 0, 2]),
        ("multi_label", range(4), range(4)),
        ("two_labels", range(4), range(2, 6)),
        ("one_element", range(3), range(3)),
        ("no_key_zero", range(5, 9), range(4)),
        ("label_less", range(3), [0, 0, 0]),
    ],
)
def test_layouts_written_by_mxnet(name, keys, labels):
    records = FaceRecords(FIXTURES / f"{name}.rec")
    assert records.keys.tolist() == list(keys) and records.labels.tolist() == list(labels)
    assert records.labels.dtype == np.int64 and records.num_classes == max(labels) + 1 and len(records) == len(keys)
    assert [records.payload(row) for row in range(len(records))] == [b"face %d" % key for key in keys]
    assert records.where(0).endswith(f"{name}.rec record {keys[0]}")


def test_written_files_equal_those_of_mxnet(tmp_path):
    assert write_face_records(tmp_path, items()) == (6, 3)
    for ours, theirs in (("train.rec", "insightface.rec"), ("train.idx", "insightface.idx")):
        assert (tmp_path / ours).read_bytes() == (FIXTURES / theirs).read_bytes()
    assert (tmp_path / "property").read_text() == "3,112,112\n"


def test_records_open_after_pickling_and_without_an_index(tmp_path):
    write_face_records(tmp_path, items(), size=(16, 16))
    records = FaceRecords(tmp_path / "train.rec")
    again = pickle.loads(pickle.dumps(records))
    (tmp_path / "train.idx").unlink()
    scanned = FaceRecords(tmp_path / "train.rec")
    for other in (again, scanned):
        assert other.labels.tolist() == LABELS and other.payload(5) == b"face 6"
    assert scanned.fingerprint() == records.fingerprint()
    assert (tmp_path / "property").read_text() == "3,16,16\n"


def test_the_fingerprint_depends_on_content_and_index(tmp_path):
    write_face_records(tmp_path, items())
    prints = {FaceRecords(tmp_path / "train.rec").fingerprint()}
    lines = (tmp_path / "train.idx").read_text().splitlines(keepends=True)
    (tmp_path / "train.idx").write_text("".join(reversed(lines)))
    prints.add(FaceRecords(tmp_path / "train.rec").fingerprint())
    assert len(prints) == 1
    content = (tmp_path / "train.rec").read_bytes()
    (tmp_path / "train.rec").write_bytes(content.replace(b"face 6", b"face 7"))
    prints.add(FaceRecords(tmp_path / "train.rec").fingerprint())
    (tmp_path / "train.rec").write_bytes(content)
    swapped = "".join(lines).replace("1\t0\n2\t40\n", "2\t0\n1\t40\n")
    (tmp_path / "train.idx").write_text(swapped)
    prints.add(FaceRecords(tmp_path / "train.rec").fingerprint())
    assert len(prints) == 3
    assert all(len(text) == 64 for text in prints)


def test_an_image_without_payload_is_named(tmp_path):
    path = write(tmp_path / "a.rec", [(0, 0, b"x"), (1, 1, b""), (2, 1, b"x"), (3, 1, b"")])
    with pytest.raises(ValueError, match=r"a.rec: record 1 at byte 36 contains no image.* as do 1 others"):
        FaceRecords(path)


@pytest.mark.parametrize("label", [0.5, -1, float("nan"), float("inf"), 2.0**31, 3e38])
def test_an_invalid_label_is_named(tmp_path, label):
    path = write(tmp_path / "a.rec", [(0, 0, b"x"), (1, label, b"x")])
    with pytest.raises(ValueError, match="record 1 at byte 36 has a label that is not a whole number"):
        FaceRecords(path)


@pytest.mark.parametrize("label", [(1, 3), (3, 2), (float("nan"), 3), (3, float("inf")), (3, 4, 5)])
def test_an_empty_record_with_other_labels_is_not_a_header(tmp_path, label):
    path = write(tmp_path / "a.rec", [(0, label, b""), (1, 0, b"x")])
    with pytest.raises(ValueError, match="record 0 at byte 0 contains no image"):
        FaceRecords(path)


@pytest.mark.parametrize("missing", [1, 3, 6])
def test_a_header_with_missing_images_is_reported(tmp_path, missing):
    write_face_records(tmp_path, items())
    lines = (tmp_path / "train.idx").read_text().splitlines(keepends=True)
    kept = "".join(line for line in lines if not line.startswith(f"{missing}\t"))
    (tmp_path / "train.idx").write_text(kept)
    with pytest.raises(ValueError, match=f"images at keys 1 to 6, but key {missing} is missing"):
        FaceRecords(tmp_path / "train.rec")


def test_truncated_and_empty_files(tmp_path):
    write_face_records(tmp_path, items())
    content = (tmp_path / "train.rec").read_bytes()
    (tmp_path / "train.rec").write_bytes(content[:100])
    with pytest.raises(ValueError, match="train.rec: record 0 at byte 360"):
        FaceRecords(tmp_path / "train.rec")
    with pytest.raises(ValueError, match="contains no image"):
        FaceRecords(write(tmp_path / "empty.rec", []))
    with pytest.raises(FileNotFoundError, match="no record file"):
        FaceRecords(tmp_path / "none.rec")


def test_images_in_several_parts_are_found(tmp_path):
    payload = b"abcd" + bytes.fromhex("0a23d7ce") + b"ef"
    write_face_records(tmp_path, [(0, b"x"), (1, payload), (2, b"x")])
    records = FaceRecords(tmp_path / "train.rec")
    assert records.labels.tolist() == [0, 1, 2] and records.payload(1) == payload


def test_a_header_label_rounded_by_float32():
    assert first_identity_key(np.float32(100), lambda key: True) == 100
    for exact in (17_091_659, 17_091_661, 42_474_558, (1 << 25) - 1, (1 << 25) + 1):
        stored = np.float32(exact)
        assert int(stored) != exact
        assert first_identity_key(stored, lambda key, exact=exact: key >= exact) == exact
        assert first_identity_key(stored, lambda key: False) == int(stored)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([(1, b"x")], "image 1 has label 1 after 0 identities"),
        ([(-1, b"x")], "image 1 has label -1"),
        ([(0, b"x"), (2, b"x")], "image 2 has label 2 after 1 identities"),
        ([(0, b"x"), (1, b"x"), (0, b"x")], "image 3 has label 0 after 2 identities"),
        ([(0, b"x"), (0, b"")], "image 2 .* empty payload"),
        ([], "no images for"),
    ],
)
def test_invalid_items_are_rejected_and_leave_no_file(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write_face_records(tmp_path, rows)
    assert not list(tmp_path.iterdir())


def test_half_a_million_labels_in_seconds(tmp_path):
    """Time the index and the labels only, with one short body repeated."""
    count = 500_000
    write(tmp_path / "one.rec", [(0, 7, b"face")])
    body = (tmp_path / "one.rec").read_bytes()
    (tmp_path / "many.rec").write_bytes(body * count)
    (tmp_path / "many.idx").write_text("".join(f"{key}\t{key * len(body)}\n" for key in range(count)))
    started = time.process_time()
    records = FaceRecords(tmp_path / "many.rec")
    assert time.process_time() - started < 5
    assert len(records) == count and (records.labels == 7).all()


def test_real_data(aird_data, tmp_path):
    records = FaceRecords(aird_data / "celeb240" / "train.rec")
    assert (len(records), records.num_classes) == (4991, 240)
    rows = range(len(records))
    assert write_face_records(tmp_path, ((records.labels[row], records.payload(row)) for row in rows)) == (4991, 240)
    ours, theirs = RecordReader(tmp_path / "train.rec"), records.reader
    assert sorted(ours.keys) == sorted(theirs.keys)
    for key in theirs.keys:
        assert ours[key].label.tolist() == theirs[key].label.tolist()
        assert ours[key].payload == theirs[key].payload
    assert (tmp_path / "property").read_bytes() == (aird_data / "celeb240" / "property").read_bytes()


def test_fixture_list_is_complete():
    listed = set(json.loads((FIXTURES / "expected.json").read_text()))
    assert listed == {path.stem for path in FIXTURES.glob("*.rec")}
    assert all(path.stat().st_size < 20_000 for path in FIXTURES.iterdir())
