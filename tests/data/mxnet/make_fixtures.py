"""Write the record and pairs files of the tests with MXNet.

Run once in a separate environment: Python 3.11, `pip install mxnet==1.9.1 numpy==1.23.5`, then
`python tests/data/mxnet/make_fixtures.py`. expected.json lists the records of each file in file
order, with the key, whether the label was given as an array, the labels, the payload, id and id2.
"""

import base64
import json
import pickle
import random
from pathlib import Path

import numpy as np
from mxnet import recordio

HERE = Path(__file__).parent
MAGIC = bytes.fromhex("0a23d7ce")
IMAGE = bytes(range(256))


def variants():
    """Yield (label, payload, id2) of every kind of record."""
    rng = np.random.default_rng(0)
    for size in range(6):
        yield 1.0, IMAGE[:size], 0
    yield 2.0, MAGIC, 0
    yield 2.0, MAGIC * 3, 0
    yield 2.0, b"abcd" + MAGIC + b"efgh", 0
    yield 2.0, b"abcd" + MAGIC + b"ef", 0
    yield 2.0, b"abc" + MAGIC + b"efgh", 0
    yield 2.0, b"ab" + MAGIC + b"cd" + MAGIC + b"e", 0
    yield 2.0, b"abcdefgh" + MAGIC, 0
    yield 2.0, b"abcd" + MAGIC[:3], 0
    yield 2.0, MAGIC + b"abcd" + MAGIC + MAGIC + b"a", 0
    yield 16777216.0, IMAGE, 1 << 63
    yield -0.5, IMAGE, (1 << 64) - 1
    yield [7.0], IMAGE, 0
    yield [3.0, 5.0], b"", 1
    yield [3.0, 5.0], IMAGE, 1
    yield [], IMAGE, 0
    yield rng.normal(size=237).astype(np.float32).tolist(), IMAGE, 0
    yield np.frombuffer(b"aaaa" + MAGIC + b"bbbb", np.float32).tolist(), IMAGE + MAGIC, 0


def layouts():
    """Map file names to records (key, label, payload, id, id2) in file order."""
    mixed = [(key, label, payload, 1000 + key, id2) for key, (label, payload, id2) in enumerate(variants())]
    random.Random(0).shuffle(mixed)
    labels = [0, 0, 0, 1, 2, 2]
    images = [(key, float(label), b"face %d" % key, key, 0) for key, label in enumerate(labels, 1)]
    identities = [(7, [1.0, 4.0], b"", 7, 0), (8, [4.0, 5.0], b"", 8, 0), (9, [5.0, 7.0], b"", 9, 0)]
    scattered = [(key, float(label), b"face %d" % key, key, 0) for label, key in enumerate([3, 0, 4, 1, 2])]
    return {
        "variants": mixed,
        "insightface": [*images, *identities, (0, [7.0, 10.0], b"", 0, 0)],
        "im2rec": scattered,
        "multi_label": [(key, [float(key), 1.0, 2.0], b"face %d" % key, key, 0) for key in range(4)],
        "two_labels": [(key, [float(key + 2), 9.0], b"face %d" % key, key, 0) for key in range(4)],
        "one_element": [(key, [float(key)], b"face %d" % key, key, 0) for key in range(3)],
        "no_key_zero": [(key, float(key - 5), b"face %d" % key, key, 0) for key in range(5, 9)],
        "label_less": [(key, [], b"face %d" % key, key, 0) for key in range(3)],
    }


def write(name, records):
    """Write a record file with MXNet; the index lines of `variants` are shuffled once more."""
    idx = HERE / f"{name}.idx"
    file = recordio.MXIndexedRecordIO(str(idx), str(HERE / f"{name}.rec"), "w")
    for key, label, payload, id_, id2 in records:
        file.write_idx(key, recordio.pack(recordio.IRHeader(0, label, id_, id2), payload))
    file.close()
    if name == "variants":
        lines = idx.read_text().splitlines(keepends=True)
        random.Random(1).shuffle(lines)
        idx.write_text("".join(lines))


def expected(records):
    """Convert the records for JSON."""
    return [
        {
            "key": key,
            "array": isinstance(label, list),
            "label": label,
            "id": id_,
            "id2": id2,
            "payload": base64.b64encode(payload).decode(),
        }
        for key, label, payload, id_, id2 in records
    ]


def write_pairs():
    """Write pairs files with numpy arrays in every pickle protocol."""
    column = [np.frombuffer(IMAGE[i:], np.uint8).reshape(-1, 1).copy() for i in range(2)]
    flat = [np.frombuffer(IMAGE[i:], np.uint8).copy() for i in range(2, 4)]
    for protocol in range(6):
        with open(HERE / f"numpy1_protocol{protocol}.bin", "wb") as file:
            pickle.dump((column + flat, [np.bool_(True), np.bool_(False)]), file, protocol=protocol)
    with open(HERE / "numpy1_flags.bin", "wb") as file:
        pickle.dump(([bytearray(IMAGE[i:]) for i in range(4)], np.array([True, False])), file, protocol=2)


if __name__ == "__main__":
    for layout, rows in layouts().items():
        write(layout, rows)
    text = json.dumps({layout: expected(rows) for layout, rows in layouts().items()}, indent=0)
    (HERE / "expected.json").write_text(text + "\n")
    write_pairs()
