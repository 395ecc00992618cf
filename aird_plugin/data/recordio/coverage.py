"""Whether the `.idx` of a data set lists every record of its `.rec`, under the keys that the records carry.

MXNet reads what the index lists. An index that was cut short, or belongs to another file, trains on a part without a word.
"""

import numpy as np

from aird_plugin.data.image_files import Accounting
from aird_plugin.data.recordio.format import FRAME, LENGTH_BITS, MAGIC_WORD, WHOLE, padded
from aird_plugin.data.recordio.reader import RecordReader

NO_RECORDS = "bytes that are no record"


def check_coverage(reader: RecordReader) -> Accounting:
    """Bytes of the file that no record covers. Raises ValueError for records that are not listed, or listed over one another."""
    found = Accounting(reader.path)
    if not reader.indexed:
        return found
    offset_N, end_N = extents(reader)
    inside = np.flatnonzero(offset_N[1:] < end_N[:-1])
    if len(inside):
        raise ValueError(
            f"{reader.idx_path}: a record is listed at byte {offset_N[inside[0] + 1]}, inside the one at byte "
            f"{offset_N[inside[0]]}; it belongs to another .rec; delete the .idx to have it rebuilt"
        )
    starts, stops = np.append(0, end_N), np.append(offset_N, reader.file_size)
    gaps = [(int(starts[at]), int(stops[at])) for at in np.flatnonzero(starts < stops)]
    counts = [count_records(reader, *gap) for gap in gaps]
    if unlisted := sum(counts):
        first = next(start for (start, _), count in zip(gaps, counts, strict=True) if count)
        raise ValueError(
            f"{reader.idx_path} lists {len(reader)} of the {len(reader) + unlisted} records of {reader.path}: {unlisted} from "
            f"byte {first} on are not listed, and their images would be left out. The index is cut short or of another file: "
            "delete the .idx to have it rebuilt from the .rec. To train on a part, write it as a .rec of its own"
        )
    found.leave_out(NO_RECORDS, *(f"{stop - start} from byte {start}" for start, stop in gaps))
    return found


def file_order_remedy(reader: RecordReader) -> str | None:
    """What to do about an index that numbers the records in file order, as MXNet's rec2idx does; None for another index."""
    if not reader.indexed:
        return None
    keys, offsets = reader.index()
    ids = ids_of(reader, keys)
    in_file_order = np.array_equal(keys, np.arange(len(keys))) and (np.diff(offsets) > 0).all()
    if not in_file_order or np.array_equal(keys, ids) or len(np.unique(ids)) < len(ids):
        return None
    other = int(np.flatnonzero(ids != keys)[0])
    return (
        f"{reader.idx_path} numbers the records 0, 1, 2 ... in file order, as MXNet's rec2idx does, but they carry keys of their "
        f"own (record {other} is key {ids[other]}), by which the header and the identity records are found; delete the .idx to "
        "have it rebuilt with the records' own keys"
    )


def extents(reader: RecordReader) -> tuple[np.ndarray, np.ndarray]:
    """Start and end in bytes of every listed record, in file order, int64 (N,). A damaged one ends where the next begins."""
    offset_N = np.sort(reader.index()[1])
    words = np.frombuffer(reader.mapped(), "<u4", reader.file_size // 4)
    plain_N = (offset_N % 4 == 0) & (offset_N + FRAME.size <= reader.file_size)
    at_N = np.where(plain_N, offset_N // 4, 0)
    length_N = words[at_N + 1].astype(np.int64)
    plain_N &= (words[at_N] == MAGIC_WORD) & (length_N >> LENGTH_BITS == WHOLE)
    end_N = offset_N + FRAME.size + padded(length_N)
    next_N = np.append(offset_N[1:], reader.file_size)
    for row in np.flatnonzero(~plain_N):
        end_N[row] = end_of_record(reader, int(offset_N[row])) or next_N[row]
    return offset_N, end_N


def end_of_record(reader: RecordReader, offset: int) -> int | None:
    """The byte after the record that begins at `offset`; None where no whole record does."""
    try:
        return padded(reader.parts(offset, "a record")[-1][1])
    except ValueError:
        return None


def count_records(reader: RecordReader, start: int, stop: int) -> int:
    """The number of whole records one after the other from byte `start` on, up to `stop`."""
    count, at = 0, start
    while at < stop and (end := end_of_record(reader, at)) and end <= stop:
        count, at = count + 1, end
    return count


def ids_of(reader: RecordReader, keys: np.ndarray) -> np.ndarray:
    """The id in the header of each record, int64 (N,); -1 for one that is damaged."""
    ids_N = np.full(len(keys), -1)
    for row, key in enumerate(keys):
        try:
            ids_N[row] = min(reader[key].id, (1 << 63) - 1)
        except ValueError:
            continue
    return ids_N
