"""Published lists of verification pairs -> two files and a flag per pair.

LFW's pairs.txt, lists of `path_a path_b 0|1` (AgeDB-30's agedb_30_pair.txt is one), CALFW's and CPLFW's lists, CFP's Protocol
folders, and AgeDB's protocol in MATLAB's format. Images are looked up below a root and may have another suffix than in the list,
so that a folder of aligned copies serves as the root.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aird_plugin.data.constants import IMAGE_SUFFIXES
from aird_plugin.data.matlab_lists import agedb_pairs
from tools.lib.lfw import FOLDS, FORMS, pair_of, rows_of

CFP_LISTS = {"FF": ("Pair_list_F.txt", "Pair_list_F.txt"), "FP": ("Pair_list_F.txt", "Pair_list_P.txt")}


class ListedPair(NamedTuple):
    """where: the list and line, for errors. find: opens nothing, returns the two files or raises ValueError."""

    where: str
    find: Callable[[], tuple[Path, Path]]
    same: bool


def read_pair_list(source: Path, root: Path) -> list[ListedPair]:
    """The pairs of a list, in an order that InsightFace's ten folds divide as the list does. The images are below `root`.

    source: a text file, AgeDB's .mat, or CFP's `Protocol/Split/FF` or `FP`. ValueError or OSError names what cannot be read.
    """
    if source.is_dir():
        return list(_cfp(source, root))
    if source.suffix == ".mat":
        pairs = agedb_pairs(source)
        return [_pair(f"{source} pair {number}", root, a, b, same) for number, (a, b, same) in enumerate(pairs, 1)]
    rows = rows_of(source)
    if rows and all(len(row) == 2 for _, row in rows):
        return list(_in_folds(source, rows, root))
    return [_of_a_line(f"{source} line {number}", row, root) for number, row in rows]


def _of_a_line(where: str, row: list[str], root: Path) -> ListedPair:
    """A line of LFW's format, or of two paths and a flag."""
    if pair := pair_of(row):
        return _pair(where, root, *(f"{name}/{name}_{number:04d}.jpg" for name, number in pair), len(row) == 3)
    if len(row) == 3 and row[2] in ("0", "1"):
        return _pair(where, root, row[0], row[1], row[2] == "1")
    raise ValueError(f"{where}: found {row}; allowed are `path_a path_b 0|1`, {FORMS}")


def _in_folds(source: Path, rows: list[tuple[int, list[str]]], root: Path) -> Iterator[ListedPair]:
    """CALFW and CPLFW: `file fold` on two lines per pair, first all genuine pairs with their fold (1 to 10), then all impostor
    pairs with 0. Each fold gets an equal share of the impostor pairs, in the list's order."""
    genuine: dict[int, list[ListedPair]] = {}
    impostor: list[ListedPair] = []
    if len(rows) % 2:
        raise ValueError(f"{source} has {len(rows)} lines `file fold`; a pair has two, so their number is even")
    for (number, (a, fold)), (_, (b, other)) in zip(rows[0::2], rows[1::2], strict=True):
        where = f"{source} line {number}"
        if fold != other or not fold.isdecimal() or int(fold) > FOLDS:
            allowed = f"the same number on both lines: 0 (impostor), or the fold of a genuine pair, 1 to {FOLDS}"
            raise ValueError(f"{where}: found {fold!r} and {other!r} after the file names; expected {allowed}")
        kind = genuine.setdefault(int(fold), []) if int(fold) else impostor
        kind.append(_pair(where, root, a, b, bool(int(fold))))
    shares = np.array_split(np.arange(len(impostor)), max(len(genuine), 1))
    for fold, share in zip(sorted(genuine) or [0], shares, strict=True):
        yield from genuine.get(fold, [])
        yield from (impostor[place] for place in share)


def _cfp(split: Path, root: Path) -> Iterator[ListedPair]:
    """CFP: `Protocol/Split/FF|FP/01 ... 10`, each with same.txt and diff.txt: lines `a,b`, numbers in the two lists of images."""
    if split.name not in CFP_LISTS:
        raise ValueError(
            f"{split} is a folder, but neither CFP's Protocol/Split/FF or FP nor a bcolz folder (with meta/storage); "
            "give one of them, or a list of pairs"
        )
    first, second = (_cfp_images(split.absolute().parents[1] / name) for name in CFP_LISTS[split.name])
    folds = sorted(folder for folder in split.iterdir() if folder.is_dir())
    for file, same in ((folder / name, same) for folder in folds for name, same in (("same.txt", True), ("diff.txt", False))):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            a, _, b = (part.strip() for part in line.partition(","))
            if a not in first or b not in second:
                raise ValueError(f"{file} line {number}: found {line!r}; expected `a,b`, numbers of the two lists of images")
            yield _pair(f"{file} line {number}", root, first[a], second[b], same)


def _cfp_images(file: Path) -> dict[str, str]:
    """Lines `1 ../Data/Images/001/frontal/01.jpg` -> {"1": "001/frontal/01.jpg"}."""
    rows = rows_of(file)
    for number, row in rows:
        if len(row) != 2:
            raise ValueError(f"{file} line {number}: found {row}; expected a number and a path")
    return {number: "/".join(path.split("/")[-3:]) for _, (number, path) in rows}


def _pair(where: str, root: Path, a: str, b: str, same: bool) -> ListedPair:
    return ListedPair(where, lambda: (listed_file(root, a), listed_file(root, b)), same)


def listed_file(root: Path, name: str) -> Path:
    """A listed file, of the same name with another image suffix where it has the listed one not.

    ValueError if it is missing, or lies outside `root`: an untrusted list could name any image of this machine.
    """
    file = Path(os.path.abspath(root / name))
    if not file.is_relative_to(Path(os.path.abspath(root))):
        raise ValueError(
            f"{name!r} lies outside {root} and was not opened; set --root to a folder that contains all listed files"
        )
    file = root / name
    if file.is_file():
        return file
    stem = file.with_suffix("") if file.suffix.lower() in IMAGE_SUFFIXES else file
    found = [other for suffix in sorted(IMAGE_SUFFIXES) if (other := stem.with_name(stem.name + suffix)).is_file()]
    if not found:
        raise ValueError(f"no {file} (nor with another suffix of an image); set --root to the folder that it is listed from")
    return found[0]
