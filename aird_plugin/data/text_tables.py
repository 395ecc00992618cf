"""Rows of the CSV, TSV and .lst files that list images and identities; file names have any characters and bytes."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path


def read_rows(path: str | Path, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> list[tuple[int, list[str]]]:
    """(line number, fields) of every line that is not empty. quoting: of the csv module.

    A byte-order mark, with which Excel begins its UTF-8, is no part of the first field. Bytes that are not UTF-8 stay as they are
    in names of files. Raises ValueError for a file that is no text.
    """
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting)
        try:
            return [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise ValueError(f"{path} line {reader.line_num}: {error}; a list is a text file") from error


def encoded_rows(rows: Iterable[Sequence]) -> bytes:
    """The rows as CSV, a line each unless a field has a line break; bytes that are not UTF-8 are written unchanged."""
    text = io.StringIO(newline="")
    # Fields with a character of the line's end are quoted; a carriage return that is not ends a row for every reader.
    writer = csv.writer(text, lineterminator="\r\n")
    lines = []
    for row in rows:
        writer.writerow(row)
        lines.append(text.getvalue().removesuffix("\r\n") + "\n")
        text.seek(0)
        text.truncate()
    return "".join(lines).encode("utf-8", "surrogateescape")
