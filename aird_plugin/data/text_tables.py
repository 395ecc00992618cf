"""Rows of the CSV, TSV and .lst files in which users list images and identities."""

import csv
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
