import numpy as np
import pytest

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.records import open_records
from aird_plugin.training.bank import build_bank


@pytest.fixture
def photos(tiny_run, tmp_path):
    """Six images of three identities in a folder `all`; their payloads."""
    records = open_records(tiny_run["rec"])
    payloads = [records.payload(row) for row in (0, 1, 6, 7, 12, 13)]
    (tmp_path / "all").mkdir()
    for number, payload in enumerate(payloads):
        (tmp_path / "all" / f"{number}.jpg").write_bytes(payload)
    return payloads


@pytest.mark.parametrize(
    ("name", "line", "labels"),
    [
        ("faces.csv", "all/{n}.jpg,{name}", [2, 2, 0, 0, 1, 1]),
        ("faces.csv", "all/{n}.jpg,{label}", [0, 0, 1, 1, 2, 2]),
        ("faces.tsv", "all/{n}.jpg\t{label}", [0, 0, 1, 1, 2, 2]),
        ("faces.lst", "{n}\t{label}.000000\tall/{n}.jpg", [0, 0, 1, 1, 2, 2]),
        ("faces.lst", "{n}\t{label}.000000\t0.5\t0.7\tall/{n}.jpg", [0, 0, 1, 1, 2, 2]),
    ],
    ids=["names", "numbers", "tabs", "im2rec", "several labels"],
)
def test_images_and_labels_of_a_list(name, line, labels, photos, tmp_path):
    rows = [line.format(n=n, label=n // 2, name=("zoe", "ann", "bob")[n // 2]) for n in range(6)]
    header = "path,label\n" if name.endswith("csv") else ""
    (tmp_path / name).write_text(header + "\n".join(rows) + "\n")
    records = open_records(str(tmp_path / name))
    assert records.labels.tolist() == labels and records.num_classes == 3
    assert [records.payload(row) for row in range(6)] == photos and records.where(3) == str(tmp_path / "all/3.jpg")
    before = records.fingerprint()
    (tmp_path / "all/3.jpg").write_bytes(photos[0])
    assert open_records(str(tmp_path / name)).fingerprint() != before


def test_a_run_takes_a_list(photos, tiny_run, tmp_path):
    (tmp_path / "faces.csv").write_text("".join(f"all/{n}.jpg,{n // 2}\n" for n in range(6)))
    keys = tiny_run | {"rec": str(tmp_path / "faces.csv"), "bank": str(tmp_path / "bank")}
    lines = build_bank(from_flat(keys))
    assert any("6 images" in line for line in lines)
    assert np.load(tmp_path / "bank/teacher-v2/person.npy").tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("faces.csv", "all/0.jpg", "faces.csv line 2: found .*a line is path and label"),
        ("faces.csv", "all/9.jpg,1", "faces.csv line 2: no image at .*all/9.jpg; paths are relative to the list's folder"),
        ("faces.lst", "1\t0", "faces.lst line 2: .*index, label, path with tabs between"),
    ],
)
def test_a_bad_line_is_named(name, line, message, photos, tmp_path):
    good = "0\t0\tall/0.jpg" if name.endswith("lst") else "all/0.jpg,0"
    (tmp_path / name).write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        open_records(str(tmp_path / name))
    (tmp_path / name).write_text("")
    with pytest.raises(ValueError, match=f"{name} lists no image"):
        open_records(str(tmp_path / name))
