"""An index that does not list every record, or numbers them otherwise than they do."""

import re

import numpy as np
import pytest

from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.recordio.face_records import FaceRecords, write_face_records
from aird_plugin.data.recordio.reader import RecordReader


@pytest.fixture
def folder(tmp_path, noise_faces):
    """Three identities of four images each: twelve images, three identity records and the header."""
    images = noise_faces(12)
    write_face_records(tmp_path, ((row // 4, encode_jpeg(images[row])) for row in range(12)))
    return tmp_path


def lines_of(folder):
    return (folder / "train.idx").read_text().splitlines()


def write_lines(folder, lines):
    (folder / "train.idx").write_text("".join(f"{line}\n" for line in lines))


def test_a_complete_index_is_accepted_in_any_order(folder):
    write_lines(folder, reversed(lines_of(folder)))
    assert len(FaceRecords(folder / "train.rec")) == 12 and FaceRecords(folder / "train.rec").left_out.line() is None


def test_a_cut_index_is_refused_with_what_is_unlisted(folder):
    """40 of 86 images and 5 of 12 identities were trained on, and no fault was found."""
    lines = lines_of(folder)
    offset = lines[6].split("\t")[1]
    write_lines(folder, lines[:6])
    text = (
        f"{folder}/train.idx lists 6 of the 16 records of {folder}/train.rec: 10 from byte {offset} on are not listed, and their "
        "images would be left out. The index is cut short or of another file: delete the .idx to have it rebuilt from the .rec. "
        "To train on a part, write it as a .rec of its own"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        FaceRecords(folder / "train.rec")
    (folder / "train.idx").unlink()
    assert len(FaceRecords(folder / "train.rec")) == 12


@pytest.mark.parametrize("missing", [(0,), (5,), (12,), (3, 7)])
def test_a_record_that_is_not_listed_anywhere_in_the_file_is_found(missing, folder):
    """The first and a middle image, an identity record, two images apart. Those that the header states have their own message."""
    write_lines(folder, [line for number, line in enumerate(lines_of(folder)) if number not in missing and number != 15])
    with pytest.raises(ValueError, match=f"lists {15 - len(missing)} of the 16 records"):
        FaceRecords(folder / "train.rec")


def test_a_record_in_parts_ends_where_its_last_part_does(tmp_path, noise_faces):
    """RecordIO splits a payload at its magic number."""
    payload = encode_jpeg(noise_faces(1)[0])
    magic = np.array([0xCED7230A], "<u4").tobytes()
    write_face_records(tmp_path, [(0, payload), (0, payload + bytes(-len(payload) % 4) + magic * 2), (1, payload)])
    assert len(FaceRecords(tmp_path / "train.rec")) == 3
    write_lines(tmp_path, [line for line in lines_of(tmp_path) if not line.startswith(("0\t", "2\t"))])
    with pytest.raises(ValueError, match="lists 4 of the 6 records"):
        FaceRecords(tmp_path / "train.rec")


def test_bytes_that_are_no_record_are_named(folder):
    size = (folder / "train.rec").stat().st_size
    with (folder / "train.rec").open("ab") as file:
        file.write(bytes(8))
    records = FaceRecords(folder / "train.rec")
    assert records.left_out.line() == (
        f"{folder}/train.rec: 12 images taken; left out: bytes that are no record: 1 (8 from byte {size})"
    )


def test_an_index_that_lists_one_record_twice_is_refused(folder):
    lines = lines_of(folder)
    lines[3] = "4\t" + lines[2].split("\t")[1]
    write_lines(folder, lines)
    with pytest.raises(ValueError, match="a record is listed at byte .* inside the one at byte .* delete the .idx"):
        FaceRecords(folder / "train.rec")


def test_an_index_in_file_order_names_its_remedy_which_works(folder):
    """MXNet's rec2idx numbers the records; the remedy named was to omit the identity records and make the file again."""
    reader = RecordReader(folder / "train.rec")
    write_lines(folder, [f"{n}\t{offset}" for n, offset in enumerate(sorted(reader.index()[1].tolist()))])
    text = (
        f"{folder}/train.idx numbers the records 0, 1, 2 ... in file order, as MXNet's rec2idx does, but they carry keys of "
        "their own (record 0 is key 1), by which the header and the identity records are found; delete the .idx to have it "
        "rebuilt with the records' own keys"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        FaceRecords(folder / "train.rec")
    (folder / "train.idx").unlink()
    assert FaceRecords(folder / "train.rec").labels.tolist() == sorted([0, 1, 2] * 4)
