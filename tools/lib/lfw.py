"""LFW's lists of pairs, and the lists of docs/benchmarks that are derived from them.

A shot is an identity's name and a photo number, ("Abel_Pacheco", 4); a pair is two shots, genuine if both names are equal.
"""

import itertools
import random
from pathlib import Path

FOLDS = 10
SPLIT_SEED, MAX_GENUINE_PER_IDENTITY = 11, 14
FORMS = "`name i j` and `name_a i name_b j`"

Shot = tuple[str, int]
Pair = tuple[Shot, Shot]


def fields(line: str) -> list[str]:
    """The fields of a line, separated by tabs if it contains any, else by blanks."""
    return [field.strip() for field in line.strip().split("\t")] if "\t" in line.strip() else line.split()


def rows_of(file: Path) -> list[tuple[int, list[str]]]:
    """(line number, fields) of every line except empty ones and a heading of one or two numbers. ValueError if not UTF-8."""
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error}") from error
    rows = [(number, fields(line)) for number, line in enumerate(lines, 1) if line.strip()]
    heading = bool(rows) and len(rows[0][1]) <= 2 and all(field.isdigit() for field in rows[0][1])
    return rows[1:] if heading else rows


def pair_of(row: list[str]) -> Pair | None:
    """The pair of a line's fields, None if they have another format."""
    if len(row) == 3 and row[1].isdigit() and row[2].isdigit():
        return (row[0], int(row[1])), (row[0], int(row[2]))
    if len(row) == 4 and row[1].isdigit() and row[3].isdigit():
        return (row[0], int(row[1])), (row[2], int(row[3]))
    return None


def read_list(file: Path, count: int) -> list[Pair]:
    """Read one of LFW's lists, which has `count` pairs. ValueError names the invalid line, or the count."""
    pairs = []
    for number, row in rows_of(file):
        pairs.append(pair_of(row))
        if pairs[-1] is None:
            raise ValueError(f"{file} line {number}: found {row}; allowed are {FORMS}")
    if len(pairs) != count:
        raise ValueError(f"{file} has {len(pairs)} pairs, LFW's list has {count}: download it again")
    return pairs


def in_folds(pairs: list[Pair]) -> list[Pair]:
    """The same pairs ordered for InsightFace's ten folds: each has a tenth of the genuine pairs, then of the impostor pairs."""
    same, different = ([pair for pair in pairs if (pair[0][0] == pair[1][0]) is one] for one in (True, False))
    step = [len(kind) // FOLDS for kind in (same, different)]
    return [
        pair
        for fold in range(FOLDS)
        for kind, n in zip((same, different), step, strict=True)
        for pair in kind[fold * n : (fold + 1) * n]
    ]


def draw_split(photos_of: dict[str, int]) -> list[Pair]:
    """Pairs of these identities (name -> number of photos, at least two with two), half genuine, in ten folds.

    Genuine: at most 14 pairs per identity, so that the few with a hundred photos do not dominate. Impostor: two identities and a
    photo of each, uniformly; no pair twice. `lfw_split.bin` depends on this exact order of random draws.
    """
    rng = random.Random(SPLIT_SEED)
    names = sorted(photos_of)
    same: list[Pair] = []
    for name in names:
        own = list(itertools.combinations([(name, number) for number in range(1, photos_of[name] + 1)], 2))
        rng.shuffle(own)
        same += own[:MAX_GENUINE_PER_IDENTITY]
    rng.shuffle(same)
    same = same[: len(same) // FOLDS * FOLDS]
    different: dict[frozenset, Pair] = {}
    while len(different) < len(same):
        a, b = rng.sample(names, 2)
        pair = (a, rng.randint(1, photos_of[a])), (b, rng.randint(1, photos_of[b]))
        different.setdefault(frozenset(pair), pair)
    return in_folds(same + list(different.values()))
