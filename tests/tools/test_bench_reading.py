import json
import sys

import numpy as np
import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.recordio.face_records import write_face_records
from tools import bench_reading

# Prints what the child with mxnet prints, but decodes with Pillow.
STAND_IN = """
import io, json, sys
import numpy as np
from PIL import Image
from aird_plugin.data.recordio.reader import RecordReader
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


@pytest.mark.slow
def test_rows_of_a_full_run(rec, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_reading, "CHILD", STAND_IN.replace("OFF", "0"))
    out = tmp_path / "rows.json"
    assert bench_reading.main(options(rec, "--mxnet-python", sys.executable, "--json", str(out))) == 0
    rows = json.loads(out.read_text())
    packs = [("at least", 100)] * 2
    assert [(row["bound"], row["target"]) for row in rows] == [("at least", 8), *packs, ("at most", 0.01)]
    # The seconds are the child's own, not the time until its line arrives.
    assert "us per image against 4.17e+04; MXNet none, a stand-in; pixels equal" in rows[0]["detail"]
    assert "at most 0 grey levels" in rows[3]["detail"] and "packed bank" in capsys.readouterr().out


def test_differing_pixels_are_rejected(rec, monkeypatch):
    monkeypatch.setattr(bench_reading, "CHILD", STAND_IN.replace("OFF", "np.uint8(1)"))
    with pytest.raises(ValueError, match="other pixels than ours"):
        bench_reading.main(options(rec, "--mxnet-python", sys.executable))


def test_dead_child_is_reported(rec, monkeypatch):
    monkeypatch.setattr(bench_reading, "CHILD", "raise SystemExit(3)")
    with pytest.raises(ValueError, match="names an interpreter with mxnet 1.9.1"):
        bench_reading.main(options(rec, "--mxnet-python", sys.executable))


def test_skipped_mxnet_rows_are_reported(rec, capsys):
    assert bench_reading.main(options(rec)) == 0
    assert "rows against MXNet's reader are skipped" in capsys.readouterr().out


def test_packed_bank_holds_the_chosen_images(rec, tmp_path):
    records, rows = bench_reading.open_records(rec), np.array([5, 2, 7])
    source = bench_reading.packed(records, rows, str(tmp_path), 112)
    draw, batch = source.sampler.indices(0), source[0]
    images = bench_reading.read_all(records, rows)[draw.rows_B]
    for image, view, packed in zip(images, draw.views_B, batch.images_BHWC.numpy(), strict=True):
        np.testing.assert_array_equal(packed, image[:, ::-1] if view else image)
