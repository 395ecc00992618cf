"""Reading a thresholds.json."""

import json

import pytest

from aird_plugin.demo.thresholds_file import read_thresholds

POINT = {"far": 0.01, "cosine": 0.4, "tar": 0.5, "n_impostor": 1000}
TABLE = {"pairs": "p.bin", "degradation": "bicubic", "rows": [{"px": 16, "to_px": None, "points": [POINT]}]}


def test_table_is_returned(tmp_path):
    unsupported_rate = TABLE | {"rows": [{"px": 16, "points": [POINT | {"cosine": None, "tar": None}]}]}
    for table in (TABLE, unsupported_rate):
        (tmp_path / "thresholds.json").write_text(json.dumps(table))
        assert read_thresholds(tmp_path / "thresholds.json") == table


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'"rows"',
        b"[" * 100_000,
        *(
            json.dumps(TABLE | change).encode()
            for change in (
                {"rows": []},
                {"rows": [{"px": 16, "points": []}]},
                {"rows": [{"px": "16", "points": [POINT]}]},
                {"degradation": None},
                {"rows": [{"px": 16, "points": [POINT | {"cosine": "high"}]}]},
                {"rows": [{"px": 16, "points": [{"far": 0.1}]}]},
                {"rows": [{"px": 16, "points": [POINT]}, {"px": 24, "points": [POINT | {"far": 0.1}]}]},
                {"rows": 5},
                {"pairs": 1},
            )
        ),
    ],
)
def test_invalid_file_is_rejected_in_one_line(content, tmp_path):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="other.json .*give the thresholds.json of `aird export --thresholds PAIRS`"):
        read_thresholds(path)


def test_missing_file_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="no thresholds at"):
        read_thresholds(tmp_path / "none.json")


def test_threshold_with_too_few_impostor_pairs_is_rejected(tmp_path):
    path = tmp_path / "thresholds.json"
    for impostors in (1000, 999):
        path.write_text(json.dumps(TABLE | {"rows": [{"px": 16, "points": [POINT | {"n_impostor": impostors}]}]}))
        if impostors == 1000:
            read_thresholds(path)
    with pytest.raises(ValueError, match="a false-accept rate of 0.01 was measured on 999 impostor pairs and needs 10 / FAR"):
        read_thresholds(path)
