"""RecordIO on files written by MXNet, and on damaged files."""

import base64
import hashlib
import json
import multiprocessing
import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aird_plugin.data.recordio import RecordReader, RecordWriter
from aird_plugin.data.recordio.format import MAGIC
from tests.skips import mxnet_python

FIXTURES = Path(__file__).parents[1] / "mxnet"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())


def expected_records(name):
    """(key, labels float32, payload, id, id2) in file order."""
    for row in EXPECTED[name]:
        label = np.atleast_1d(np.float32(row["label"])) if row["label"] != [] else np.zeros(1, np.float32)
        yield row["key"], label, base64.b64decode(row["payload"]), row["id"], row["id2"]


def write(path, records):
    """Write (key, label, payload) rows and return the path."""
    with RecordWriter(path) as writer:
        for row in records:
            writer.write(*row)
    return path


def some_records(count=5):
    return [(key, float(key), b"face %d" % key) for key in range(count)]


@pytest.mark.parametrize("name", EXPECTED)
def test_reader_reads_files_of_mxnet(name):
    with RecordReader(FIXTURES / f"{name}.rec") as reader:
        assert len(reader) == len(EXPECTED[name])
        for key, label, payload, id_, id2 in expected_records(name):
            record = reader[key]
            assert record.label.dtype == np.float32 and record.label.tobytes() == label.tobytes()
            assert (record.payload, record.id, record.id2) == (payload, id_, id2)


@pytest.mark.parametrize("name", EXPECTED)
def test_writer_equals_mxnet(name, tmp_path):
    with RecordWriter(tmp_path / "ours.rec") as writer:
        for row in EXPECTED[name]:
            writer.write(row["key"], row["label"], base64.b64decode(row["payload"]), row["id"], row["id2"])
    assert (tmp_path / "ours.rec").read_bytes() == (FIXTURES / f"{name}.rec").read_bytes()
    ours, theirs = ((folder / f"{file}.idx").read_text() for folder, file in ((tmp_path, "ours"), (FIXTURES, name)))
    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())


def test_fixtures_hold_every_kind_of_part():
    content = (FIXTURES / "variants.rec").read_bytes()
    kinds = {content[at + 7] >> 5 for at in range(0, len(content) - 8, 4) if content[at : at + 4] == MAGIC}
    assert kinds == {0, 1, 2, 3}


def test_keys_keep_the_order_of_the_index():
    listed = [int(line.split()[0]) for line in (FIXTURES / "variants.idx").read_text().splitlines()]
    reader = RecordReader(FIXTURES / "variants.rec")
    assert reader.keys == listed != sorted(listed)
    assert list(reader) == listed
    keys, offsets = reader.index()
    assert keys.tolist() == sorted(listed) and offsets[0] == reader.offset(0)


@pytest.mark.parametrize("name", EXPECTED)
def test_heads_agree_with_records(name):
    reader = RecordReader(FIXTURES / f"{name}.rec")
    heads = reader.heads(reader.keys)
    records = [reader[key] for key in reader.keys]
    assert heads.label.tobytes() == np.array([record.label[0] for record in records]).tobytes()
    assert heads.num_labels.tolist() == [len(record.label) for record in records]
    assert heads.size.tolist() == [len(record.payload) for record in records]


def test_without_an_index_ids_are_the_keys(tmp_path):
    shutil.copy(FIXTURES / "insightface.rec", tmp_path / "train.rec")
    scanned, indexed = RecordReader(tmp_path / "train.rec"), RecordReader(FIXTURES / "insightface.rec")
    assert sorted(scanned.keys) == sorted(indexed.keys)
    assert all(scanned[key].payload == indexed[key].payload for key in indexed.keys)
    shutil.copy(FIXTURES / "variants.rec", tmp_path / "variants.rec")
    ids = [row["id"] for row in EXPECTED["variants"]]
    assert RecordReader(tmp_path / "variants.rec").keys == ids


def test_without_an_index_and_with_repeated_ids_positions_are_the_keys(tmp_path):
    with RecordWriter(tmp_path / "a.rec") as writer:
        for key in (9, 4, 7):
            writer.write(key, 0, b"face %d" % key, id=1)
    (tmp_path / "a.idx").unlink()
    reader = RecordReader(tmp_path / "a.rec")
    assert reader.keys == [0, 1, 2] and reader[1].payload == b"face 4"


def test_random_records_round_trip(tmp_path):
    rng = random.Random(0)
    records = []
    for key in rng.sample(range(10**12), 400):
        pieces = rng.choices([MAGIC, MAGIC[:3], b"a", b"bcd", bytes(rng.randrange(9))], k=rng.randrange(9))
        label = rng.choice([rng.randrange(9), [float(i) for i in range(rng.randrange(1, 5))]])
        records.append((key, label, b"".join(pieces)))
    reader = RecordReader(write(tmp_path / "a.rec", records))
    for key, label, payload in records:
        assert reader[key].payload == payload
        assert reader[key].label.tolist() == (label if isinstance(label, list) else [label])
    (tmp_path / "a.idx").unlink()
    assert RecordReader(tmp_path / "a.rec").keys == [key for key, _, _ in records]


@pytest.mark.parametrize("indexed", [True, False])
def test_a_truncated_file_names_record_and_offset(tmp_path, indexed):
    path = write(tmp_path / "a.rec", some_records())
    last = RecordReader(path).offset(4)
    for size in range(last + 1, path.stat().st_size):
        short = tmp_path / "short.rec"
        short.write_bytes(path.read_bytes()[:size])
        if indexed:
            shutil.copy(tmp_path / "a.idx", tmp_path / "short.idx")
            reader = RecordReader(short)
            assert reader[3].payload == b"face 3"
        message = rf"short.rec: record {'' if indexed else 'number '}4.* at byte {last} .*{size} bytes.*copy it again"
        with pytest.raises(ValueError, match=message):
            _ = reader[4] if indexed else RecordReader(short)
        if indexed:
            with pytest.raises(ValueError, match=message):
                reader.heads(range(5))


def damaged(tmp_path, at, new):
    """A file of two records, the second in two parts (at bytes 40 and 80), with `new` written at byte `at`."""
    path = write(tmp_path / "a.rec", [(0, 0, b"face 0"), (1, 1, b"abcdefgh" + MAGIC + b"ij")])
    content = bytearray(path.read_bytes())
    content[at : at + len(new)] = new
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "at, new, message",
    [
        (40, b"\0", "byte 40 should hold 0a23d7ce, found 0023d7ce"),
        (80, b"\0", "byte 80 should hold 0a23d7ce, found 0023d7ce"),
        (44, struct.pack("<I", 2 << 29 | 32), "byte 40 starts a part of kind 2"),
        (84, struct.pack("<I", 1 << 29 | 2), "byte 80 starts a part of kind 1"),
        (84, struct.pack("<I", 0 << 29 | 2), "byte 80 starts a part of kind 0"),
        (44, struct.pack("<I", 8), "8 bytes are too few for the 24 byte image header"),
        (48, struct.pack("<I", 1 << 31), "states 2147483648 labels"),
        (44, struct.pack("<I", 1 << 29 | 100), "extends to byte 148"),
        (84, struct.pack("<I", 2 << 29 | 4), "a part should start at byte 92, past the end"),
    ],
)
def test_damage_is_reported(tmp_path, at, new, message):
    reader = RecordReader(damaged(tmp_path, at, new))
    assert reader[0].payload == b"face 0"
    with pytest.raises(ValueError, match=f"a.rec: record 1 at byte 40 cannot be read: .*{message}.*delete the .idx"):
        reader[1]
    with pytest.raises(ValueError, match=message):
        reader.heads([0, 1])


def test_random_damage_is_a_value_error_or_another_record(tmp_path):
    rng = random.Random(0)
    content = (FIXTURES / "variants.rec").read_bytes()
    for _ in range(300):
        broken = bytearray(content[: rng.randrange(len(content))])
        for _ in range(rng.randrange(4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256) if broken else 0
        (tmp_path / "a.rec").write_bytes(broken)
        try:
            reader = RecordReader(tmp_path / "a.rec")
            reader.heads(reader.keys)
            assert len([reader[key] for key in reader.keys]) == len(reader)
        except ValueError as error:
            assert "a.rec: record" in str(error) and "at byte" in str(error)


@pytest.mark.parametrize(
    "lines, message",
    [
        ("0\t0\n1\n", "a.idx line 2: expected `key TAB offset`, found b'1"),
        ("0\t0\nx\t40\n", "a.idx line 2"),
        ("0\t0\n1\t-40\n", "a.idx line 2"),
        ("0\t0\n1\t" + 30 * "9" + "\n", "a.idx line 2"),
        ("0\t0\n0\t40\n", "key 0 occurs 2 times"),
        ("\n", "lists no record"),
    ],
)
def test_an_invalid_index_is_rejected(tmp_path, lines, message):
    path = write(tmp_path / "a.rec", some_records())
    (tmp_path / "a.idx").write_text(lines)
    with pytest.raises(ValueError, match=message):
        RecordReader(path)


def test_an_index_of_another_file_is_reported(tmp_path):
    path = write(tmp_path / "a.rec", some_records())
    (tmp_path / "a.idx").write_text("0\t0\n1\t44\n2\t4000\n")
    reader = RecordReader(path)
    for key in (1, 2):
        for read in (reader.__getitem__, lambda key: reader.heads([key])):
            with pytest.raises(ValueError, match=f"record {key} at byte .*if the .idx belongs to another .rec"):
                read(key)


@pytest.mark.parametrize("name", EXPECTED)
def test_payload_at_equals_the_payload_of_the_record(name):
    """Also for records in parts and records with several labels."""
    reader = RecordReader(FIXTURES / f"{name}.rec")
    for key, offset in zip(*reader.index(), strict=True):
        assert reader.payload_at(int(offset)) == reader[key].payload


def test_payload_at_names_a_damaged_record(tmp_path):
    path = write(tmp_path / "a.rec", [(1, 0, b"x" * 40), (2, 1, b"y" * 40)])
    content = bytearray(path.read_bytes())
    reader = RecordReader(path)
    offset = reader.offset(2)
    for place in (offset, offset + 4):
        broken = tmp_path / f"{place}.rec"
        broken.write_bytes(content[:place] + b"\xff" * 4 + content[place + 4 :])
        broken.with_suffix(".idx").write_bytes(path.with_suffix(".idx").read_bytes())
        with pytest.raises(ValueError, match="record 2 at byte"):
            RecordReader(broken).payload_at(offset)


def test_heads_reject_a_record_without_magic(tmp_path):
    path = write(tmp_path / "a.rec", some_records(2))
    path.write_bytes(bytes([11]) + path.read_bytes()[1:])
    with pytest.raises(ValueError, match="byte 0 should hold 0a23d7ce, found 0b23d7ce"):
        RecordReader(path).heads([0, 1])


def test_missing_files_and_keys(tmp_path):
    with pytest.raises(FileNotFoundError, match="no record file"):
        RecordReader(tmp_path / "none.rec")
    reader = RecordReader(write(tmp_path / "a.rec", some_records(3)))
    assert 2 in reader and 3 not in reader and -1 not in reader
    with pytest.raises(KeyError, match="has no record 3; it has 3 records"):
        reader[3]
    empty = RecordReader(write(tmp_path / "empty.rec", []))
    assert len(empty) == 0 and empty.keys == []
    with pytest.raises(KeyError):
        empty[0]


def test_a_replaced_file_is_rejected(tmp_path):
    path = write(tmp_path / "a.rec", some_records(3))
    reader = RecordReader(path)
    write(path, some_records(4))
    with pytest.raises(ValueError, match="changed since this reader opened it"):
        reader[0]


def payloads(reader):
    return [reader[key].payload for key in reader.keys]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_share_one_reader(tmp_path, method):
    reader = RecordReader(FIXTURES / "variants.rec")
    here = payloads(reader)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(payloads, [reader, reader]) == [here, here]
    reader.close()
    assert payloads(reader) == here
    assert payloads(pickle.loads(pickle.dumps(reader))) == here


def test_the_writer_rejects_invalid_records(tmp_path):
    with RecordWriter(tmp_path / "a.rec") as writer:
        writer.write(1, 0, b"")
        for key in (1, -1):
            with pytest.raises(ValueError, match=f"used once; got {key}"):
                writer.write(key, 0, b"")
        with pytest.raises(ValueError, match="id and id2"):
            writer.write(2, 0, b"", id2=1 << 64)
        with pytest.raises(ValueError, match="less than 2\\*\\*29 bytes, got 536870912"):
            writer.write(2, 0, bytes((1 << 29) - 24))
    with pytest.raises(ValueError, match="is closed"):
        writer.write(2, 0, b"")
    assert RecordReader(tmp_path / "a.rec").keys == [1]


def test_a_failed_write_keeps_the_previous_files(tmp_path):
    path = write(tmp_path / "a.rec", some_records(2))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(RuntimeError), RecordWriter(path) as writer:
        writer.write(0, 0, b"new")
        raise RuntimeError
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


KILLED = """
import os, sys
from aird_plugin.data.recordio import RecordWriter
with RecordWriter(sys.argv[1]) as writer:
    writer.write(0, 0, bytes(100000))
    os._exit(9)
"""
FULL_DISK = """
import resource, signal, sys
from aird_plugin.data.recordio import RecordWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
writer = RecordWriter(sys.argv[1])
step = "write"
try:
    for key in range(int(sys.argv[2])):
        writer.write(key, 0, bytes(int(sys.argv[3])))
    step = "close"
    writer.close()
except OSError as error:
    print(step, error)
"""


def run_script(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )


def test_a_killed_write_leaves_only_part_files_and_the_lock(tmp_path):
    path = tmp_path / "a.rec"
    assert run_script(KILLED, path).returncode == 9
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.idx.part", "a.rec.lock", "a.rec.part"]
    write(path, some_records(2))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.idx", "a.rec"]


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "a.rec"
    first = RecordWriter(path)
    first.write(0, 0, b"first")
    with pytest.raises(ValueError, match=r"another process writes .*a.rec"):
        RecordWriter(path)
    first.write(1, 0, b"first")
    first.close()
    write(path, [*some_records(1)])
    assert len(RecordReader(path)) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.idx", "a.rec"]


@pytest.mark.parametrize("step, count, size", [("write", 20, 6000), ("write", 1, 100000), ("close", 9, 5600)])
def test_a_full_disk_raises(tmp_path, step, count, size):
    done = run_script(FULL_DISK, tmp_path / "a.rec", count, size)
    assert done.stdout.startswith(step) and "while writing" in done.stdout and "a.rec" in done.stdout, done
    assert not list(tmp_path.iterdir())


def digest(record):
    return [record.label.tobytes().hex(), record.id, record.id2, hashlib.sha256(record.payload).hexdigest()]


def dump_with_mxnet(rec_path):
    """Map each key to the record that MXNet reads."""
    interpreter = mxnet_python()
    done = subprocess.run(
        [interpreter, "-W", "ignore", str(FIXTURES / "dump_records.py"), str(rec_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {row[0]: row[1:] for row in map(json.loads, done.stdout.splitlines())}


def test_mxnet_reads_our_files(tmp_path):
    rng = random.Random(1)
    records = []
    for key in range(500):
        pieces = rng.choices([MAGIC, MAGIC[:3], b"a", b"bcd", bytes(rng.randrange(9))], k=rng.randrange(9))
        records.append((key, [float(key)] * rng.randrange(1, 4), b"".join(pieces), rng.randrange(1 << 64), key))
    path = write(tmp_path / "ours.rec", records)
    theirs, reader = dump_with_mxnet(path), RecordReader(path)
    assert len(theirs) == 500
    assert all(theirs[key] == digest(reader[key]) for key in reader.keys)
    assert all(reader[row[0]].payload == row[2] for row in records)


@pytest.mark.parametrize("name", ["celeb240", "faces15k"])
def test_reader_matches_mxnet_on_real_data(aird_data, name):
    path = aird_data / name / "train.rec"
    theirs, reader = dump_with_mxnet(path), RecordReader(path)
    assert sorted(theirs) == sorted(reader.keys) and len(theirs) > 5000
    assert all(theirs[key] == digest(reader[key]) for key in reader.keys)
    print(f"{name}: {len(theirs)} records compared")
