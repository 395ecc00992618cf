"""LFW's own lists of pairs, and the lists that docs/benchmarks.md makes of them.

A shot is LFW's name of a person and the number of a photo, ("Abel_Pacheco", 4); a pair is two shots, of one person where both
names are equal.
"""

import itertools
import random
from pathlib import Path

FOLDS = 10
SPLIT_SEED, MOST_PAIRS_OF_ONE = 11, 14
FORMS = "`name i j` and `name_a i name_b j`"

Shot = tuple[str, int]
Pair = tuple[Shot, Shot]


def fields(line: str) -> list[str]:
    """Fields between tabs where the line has any, else between blanks."""
    return [field.strip() for field in line.strip().split("\t")] if "\t" in line.strip() else line.split()


def rows_of(file: Path) -> list[tuple[int, list[str]]]:
    """(line number, fields) of every line but empty ones and a heading of one or two numbers. ValueError where it is no text."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8: {error}") from error
    rows = [(number, fields(line)) for number, line in enumerate(lines, 1) if line.strip()]
    heading = bool(rows) and len(rows[0][1]) <= 2 and all(field.isdigit() for field in rows[0][1])
    return rows[1:] if heading else rows


def pair_of(row: list[str]) -> Pair | None:
    """The pair of a line's fields, None where they are in another form."""
    if len(row) == 3 and row[1].isdigit() and row[2].isdigit():
        return (row[0], int(row[1])), (row[0], int(row[2]))
    if len(row) == 4 and row[1].isdigit() and row[3].isdigit():
        return (row[0], int(row[1])), (row[2], int(row[3]))
    return None


def read_list(file: Path, count: int) -> list[Pair]:
    """A list of LFW's, which has `count` pairs. ValueError naming the line that is no pair, or the count."""
    pairs = []
    for number, row in rows_of(file):
        pairs.append(pair_of(row))
        if pairs[-1] is None:
            raise ValueError(f"{file} line {number}: found {row}; allowed are {FORMS}")
    if len(pairs) != count:
        raise ValueError(f"{file} has {len(pairs)} pairs, LFW's own list {count}: copy it again")
    return pairs


def in_folds(pairs: list[Pair]) -> list[Pair]:
    """The same pairs for InsightFace's ten folds: each has a tenth of those of one person, in their order, then of the others."""
    same, different = ([pair for pair in pairs if (pair[0][0] == pair[1][0]) is one] for one in (True, False))
    step = [len(kind) // FOLDS for kind in (same, different)]
    return [
        pair
        for fold in range(FOLDS)
        for kind, n in zip((same, different), step, strict=True)
        for pair in kind[fold * n : (fold + 1) * n]
    ]


def draw_split(faces_of: dict[str, int]) -> list[Pair]:
    """Pairs of these people (name -> number of photos, at least two with two), half of one person, in ten folds.

    Same: at most 14 pairs a person, so that the few with a hundred photos do not decide. Different: two people, and a
    photo of each, all with equal chance; no pair twice. This very order of draws made `lfw_split.bin`, another makes other pairs.
    """
    rng = random.Random(SPLIT_SEED)
    people = sorted(faces_of)
    same: list[Pair] = []
    for name in people:
        own = list(itertools.combinations([(name, number) for number in range(1, faces_of[name] + 1)], 2))
        rng.shuffle(own)
        same += own[:MOST_PAIRS_OF_ONE]
    rng.shuffle(same)
    same = same[: len(same) // FOLDS * FOLDS]
    different: dict[frozenset, Pair] = {}
    while len(different) < len(same):
        a, b = rng.sample(people, 2)
        pair = (a, rng.randint(1, faces_of[a])), (b, rng.randint(1, faces_of[b]))
        different.setdefault(frozenset(pair), pair)
    return in_folds(same + list(different.values()))
