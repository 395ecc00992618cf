import os

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


@pytest.mark.parametrize("header", ["", "path,label\r\n"])
def test_a_byte_order_mark_is_no_part_of_the_first_field(header, photos, tmp_path):
    (tmp_path / "faces.csv").write_text(f"\ufeff{header}all/0.jpg,ann\r\nall/1.jpg,bob\r\n", encoding="utf-8")
    assert open_records(str(tmp_path / "faces.csv")).labels.tolist() == [0, 1]


def test_names_that_are_not_utf8_are_bytes_of_file_names(photos, tmp_path):
    try:
        (tmp_path / os.fsdecode(b"J\xe9.jpg")).write_bytes(photos[0])
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    (tmp_path / "faces.csv").write_bytes(b"J\xe9.jpg,Ren\xe9\nall/1.jpg,ann\n")
    records = open_records(str(tmp_path / "faces.csv"))
    assert records.labels.tolist() == [0, 1] and records.payload(0) == photos[0]


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "faces.csv").write_bytes(b"x" * 200_000)
    with pytest.raises(ValueError, match=r"faces.csv line 1: field larger than .*; a list is a text file"):
        open_records(str(tmp_path / "faces.csv"))


@pytest.mark.parametrize("names", [["1_12", "11_2", "3"], ["1e1", "10", "3"], ["１", "1", "3"]])
def test_names_that_only_python_reads_as_numbers_stay_apart(names, photos, tmp_path):
    (tmp_path / "faces.csv").write_text("".join(f"all/{n}.jpg,{name}\n" for n, name in enumerate(names)), encoding="utf-8")
    records = open_records(str(tmp_path / "faces.csv"))
    assert sorted(records.labels.tolist()) == [0, 1, 2] and records.num_classes == 3


@pytest.mark.parametrize("label", ["-1", "1.5", "nan", "2147483648"])
def test_a_number_that_is_no_label_is_refused_among_numbers(label, photos, tmp_path):
    (tmp_path / "faces.csv").write_text(f"all/0.jpg,0\nall/1.jpg,{label}\nall/2.jpg,10\n")
    with pytest.raises(ValueError, match=rf"faces.csv line 2: label {label} is no whole number from 0 to 2\*\*31 - 1"):
        open_records(str(tmp_path / "faces.csv"))
    (tmp_path / "faces.csv").write_text(f"all/0.jpg,ann\nall/1.jpg,{label}\n")
    assert open_records(str(tmp_path / "faces.csv")).num_classes == 2


def test_an_image_of_two_identities_is_refused(photos, tmp_path):
    (tmp_path / "faces.csv").write_text("all/0.jpg,ann\nall/1.jpg,bob\nall/0.jpg,ann\n./all/0.jpg,bob\n")
    with pytest.raises(ValueError, match=r"faces.csv line 4: .*all/0.jpg is of bob, and of ann in line 1"):
        open_records(str(tmp_path / "faces.csv"))


def test_insightfaces_own_list_and_names_with_quotes(photos, tmp_path):
    (tmp_path / '"a".jpg').write_bytes(photos[5])
    box = "\t".join(["1", "2", "3", "4"])
    (tmp_path / "faces.lst").write_text(f'1\tall/0.jpg\t0\n1\tall/1.jpg\t1\t{box}\n1\t"a".jpg\t0\n')
    records = open_records(str(tmp_path / "faces.lst"))
    assert records.labels.tolist() == [0, 1, 0]
    assert [records.payload(row) for row in range(3)] == [photos[0], photos[1], photos[5]]
    (tmp_path / "faces.lst").write_text('0\t1\t"a".jpg\n')
    assert open_records(str(tmp_path / "faces.lst")).payload(0) == photos[5]
