import json
import sys

import numpy as np
import pytest

from aird_plugin.data.facerec import write_face_records
from aird_plugin.data.images import encode_jpeg
from tools import bench_reading

# Speaks as the child with mxnet does, and decodes with Pillow.
STAND_IN = """
import io, json, sys
import numpy as np
from PIL import Image
from aird_plugin.data.recordio import RecordReader
reader, keys = RecordReader(sys.argv[1]), json.loads(sys.argv[2])
print(json.dumps({"how": "a stand-in", "mxnet": "none"}), flush=True)
for line in sys.stdin:
    if line.strip():
        np.save(line.strip(), np.stack([np.asarray(Image.open(io.BytesIO(reader[key].payload))) for key in keys]) + OFF)
    print(0.25, flush=True)
"""


@pytest.fixture
def rec(noise_faces, tmp_path):
    write_face_records(tmp_path / "rec", ((n // 2, encode_jpeg(face)) for n, face in enumerate(noise_faces(8))))
    return str(tmp_path / "rec")


def options(rec, *more):
    return ["--rec", rec, "--faces", "6", "--turns", "1", "--batch", "4", "--network", "native16_0.05m", *more]


def test_every_row_is_told(rec, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_reading, "CHILD", STAND_IN.replace("OFF", "0"))
    told = tmp_path / "rows.json"
    assert bench_reading.main(options(rec, "--mxnet-python", sys.executable, "--json", str(told))) == 0
    rows = json.loads(told.read_text())
    packs = [("at least", 100)] * 2
    assert [(row["bound"], row["target"]) for row in rows] == [("at least", 8), *packs, ("at most", 0.01)]
    # The child's clock counts, not the time it takes to answer.
    assert "us a face against 4.17e+04; MXNet none, a stand-in; pixels equal" in rows[0]["detail"]
    assert "at most 0 grey levels" in rows[3]["detail"] and "packed bank" in capsys.readouterr().out


def test_other_pixels_are_no_benchmark(rec, monkeypatch):
    monkeypatch.setattr(bench_reading, "CHILD", STAND_IN.replace("OFF", "np.uint8(1)"))
    with pytest.raises(ValueError, match="other pixels than ours"):
        bench_reading.main(options(rec, "--mxnet-python", sys.executable))


def test_a_child_that_dies_is_told(rec, monkeypatch):
    monkeypatch.setattr(bench_reading, "CHILD", "raise SystemExit(3)")
    with pytest.raises(ValueError, match="names an interpreter with mxnet 1.9.1"):
        bench_reading.main(options(rec, "--mxnet-python", sys.executable))


def test_without_mxnet_one_line_says_what_is_missing(rec, capsys):
    assert bench_reading.main(options(rec)) == 0
    assert "rows against MXNet's reader are left out" in capsys.readouterr().out


def test_the_packed_bank_holds_the_chosen_faces(rec, tmp_path):
    records, rows = bench_reading.open_records(rec), np.array([5, 2, 7])
    source = bench_reading.packed(records, rows, str(tmp_path), 112)
    draw, batch = source.plan.draw(0), source[0]
    faces = bench_reading.read_all(records, rows)[draw.rows_B]
    for face, view, seen in zip(faces, draw.views_B, batch.faces_BHWC.numpy(), strict=True):
        np.testing.assert_array_equal(seen, face[:, ::-1] if view else face)
