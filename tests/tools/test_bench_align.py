"""The benchmark of `aird align`, on a hand-made detector."""

import json

import pytest
from PIL import Image

from tools import bench_align
from tools.bench_align import Run, row_of


def test_row_compares_with_the_first_number_of_processes():
    one, two = [Run(10, 9, 100), Run(12, 9, 120)], [Run(5, 10, 90), Run(4, 10, 95)]
    expected = {"photos": 20, "processes": 2, "photos_per_s": 4.44, "faster": 2.5, "processor_ms": 500.0, "peak_mib": 95}
    assert row_of(20, 2, two, one) == expected
    assert bench_align.table([expected]).splitlines()[-1] == "| 20 | 2 | 4.44 | 2.5 | 500.0 | 95 |"


def test_photos_are_linked_again_and_again(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / name).rename(photos / name)
    bench_align.link_photos(photos, tmp_path / "set", 1001)
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == ["000", "001"]
    assert (tmp_path / "set" / "001" / "0001000.png").samefile(photos / "a.png")


@pytest.mark.slow
def test_command_is_measured(photo_of, detectors, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo_of(("large", 320, 160))).save(tmp_path / "photos" / "a.png")
    words = [str(tmp_path / "photos"), "--detector", str(detectors / "det_markers.onnx"), "--counts", "3", "--json"]
    assert bench_align.main([*words, str(tmp_path / "rows.json")]) == 0
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["photos"] == 3 and row["faster"] == 1 and 10 < row["peak_mib"] < 2000 and row["processor_ms"] > 0
    assert "| photos | processes |" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match=r"nothing.onnx: no such .onnx file"):
        bench_align.one_run(tmp_path / "photos", tmp_path / "out", "nothing.onnx", 1)
