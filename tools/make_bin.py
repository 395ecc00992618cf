"""Make an InsightFace verification file (.bin) of face pairs.

From a list of aligned pictures, `path_a path_b 0|1` a line (1: one person; tabs where names hold blanks), or LFW's own
pairs.txt (`name i j` and `name_a i name_b j`, files DIR/name/name_0001.jpg):
    python tools/make_bin.py PAIRS.txt OUT.bin --root DIR
From QMUL-SurvFace's verification set as it is published, its pictures stretched to squares (needs scipy):
    python tools/make_bin.py --survface QMUL-SurvFace OUT.bin
From people drawn by rule, in ten folds that share nobody:
    python tools/make_bin.py --synthetic OUT.bin --people 60 --first-person 1000 --pairs 1200 --seed 0
"""

import argparse
import io
import itertools
import os
import random
import sys
from pathlib import Path

from aird_plugin.threads import bound_spinning

bound_spinning()

import numpy as np
from PIL import Image

from aird_plugin.data.folder import IMAGE_SUFFIXES
from aird_plugin.data.images import face_file
from aird_plugin.data.lfw import FORMS, pair_of, rows_of
from aird_plugin.data.matlists import survface_pairs
from aird_plugin.data.pairs import FACE_SIDE, write_pairs
from aird_plugin.data.searches import Picture, read_square
from aird_plugin.paths import expand_arguments
from aird_plugin.progress import progress

FOLDS = 10
FEWEST_FACES = 4


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    parser = argument_parser()
    args = expand_arguments(parser.parse_intermixed_args(argv))
    if [args.synthetic, args.survface is not None, args.pairs_file is not None].count(True) != 1:
        parser.error("give PAIRS.txt OUT.bin --root DIR, or --survface DIR OUT.bin, or --synthetic OUT.bin")
    try:
        if args.synthetic:
            images, same = synthetic_images(args)
        elif args.survface:
            images, same = survface_images(Path(args.survface))
        else:
            images, same = listed_images(Path(args.pairs_file), Path(args.root), args.resize)
        write_pairs(args.out, images, same)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(same)} pairs, {sum(same)} of one person, {len(set(images))} pictures")
    if warning := fold_warning(same):
        print(f"warning: {warning}", file=sys.stderr)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command line, all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs_file", nargs="?", metavar="PAIRS.txt", help="list of pairs")
    parser.add_argument("out", metavar="OUT.bin", help="file to write")
    parser.add_argument("--root", default=".", metavar="DIR", help="folder that the list's paths start from (.)")
    parser.add_argument("--resize", action="store_true", help="resize square pictures to 112 px (bicubic)")
    parser.add_argument("--survface", metavar="DIR", help="take the verification pairs of QMUL-SurvFace")
    synthetic = parser.add_argument_group("people drawn by rule")
    synthetic.add_argument("--synthetic", action="store_true", help="draw people instead of reading a list")
    synthetic.add_argument("--people", type=int, default=60, metavar="N", help="how many, 20 or more (60)")
    synthetic.add_argument("--first-person", type=int, default=0, metavar="I", help="number of the first one (0)")
    synthetic.add_argument("--pairs", type=int, default=1200, metavar="M", help="a multiple of 20 (1200)")
    synthetic.add_argument("--seed", type=int, default=0, metavar="S", help="the seed of the people (0)")
    synthetic.add_argument("--workers", type=int, default=os.cpu_count(), help="drawing processes (one a core)")
    return parser


def listed_images(pairs_file: Path, root: Path, resize: bool) -> tuple[list[bytes], list[bool]]:
    """Images and flags of a list. JPEG and PNG of 112 px go in as they are. ValueError names the line that fails."""
    rows = rows_of(pairs_file)
    images, same, known = [], [], {}
    for number, row in progress(rows, len(rows), "packing", "pair"):
        try:
            *files, one_person = parse_pair(row, root)
            for file in files:
                if file not in known:
                    known[file] = face_file(file, resize=resize, keep=("JPEG", "PNG"))
                images.append(known[file])
        except (ValueError, OSError) as error:
            raise ValueError(f"{pairs_file} line {number}: {error}") from error
        same.append(one_person)
    return images, same


def survface_images(folder: Path) -> tuple[list[bytes], list[bool]]:
    """Images and flags of QMUL-SurvFace's pairs; every picture becomes a PNG of 112 px, so that nothing is lost twice."""
    pairs = survface_pairs(folder)
    files = sorted({file for *both, _ in pairs for file in both})
    known = {}
    for file in progress(files, len(files), "packing", "picture"):
        content = io.BytesIO()
        Image.fromarray(read_square([Picture(str(file))], FACE_SIDE)[0]).save(content, "PNG")
        known[file] = content.getvalue()
    return [known[file] for *both, _ in pairs for file in both], [one_person for *_, one_person in pairs]


def parse_pair(row: list[str], root: Path) -> tuple[Path, Path, bool]:
    """One line's fields -> two files and whether they show one person."""
    if pair := pair_of(row):
        return *(lfw_file(root, *shot) for shot in pair), len(row) == 3
    if len(row) == 3 and row[2] in ("0", "1"):
        return within(root, row[0]), within(root, row[1]), row[2] == "1"
    raise ValueError(f"found {row}; allowed are `path_a path_b 0|1`, {FORMS}")


def within(root: Path, name: str) -> Path:
    """A listed file. ValueError for one elsewhere: a stranger's list could name any picture of this machine."""
    file = Path(os.path.abspath(root / name))
    if not file.is_relative_to(Path(os.path.abspath(root))):
        raise ValueError(f"{name!r} leads out of {root}; it was not opened. Give --root the folder that holds all of them")
    return root / name


def lfw_file(root: Path, name: str, number: int) -> Path:
    """LFW's file of a person's picture number, in whichever format it is there."""
    stem = within(root, f"{name}/{name}_{number:04d}")
    candidates = [stem.with_name(stem.name + suffix) for suffix in sorted(IMAGE_SUFFIXES)]
    found = [file for file in candidates if file.is_file()]
    if not found:
        raise ValueError(f"no {stem}.jpg (or .png, .bmp, .webp)")
    return found[0]


def fold_warning(same: list[bool]) -> str | None:
    """What is wrong with the ten folds that InsightFace will cut the list into, if anything."""
    if len(same) < FOLDS:
        return f"{len(same)} pairs; InsightFace's ten folds need ten pairs or more"
    one_sided = [place for place, fold in enumerate(np.array_split(same, FOLDS), 1) if fold.all() or not fold.any()]
    if one_sided:
        return f"fold {one_sided[0]} of the ten has pairs of one kind only; mix the lines of the list"
    return None


def synthetic_images(args) -> tuple[list[bytes], list[bool]]:
    """Images and flags of pairs of drawn people."""
    from aird_plugin.data.synthetic_files import draw_jpegs

    pairs = synthetic_pairs(args.people, args.first_person, args.pairs, args.seed)
    shots = sorted({shot for *both, _ in pairs for shot in both})
    jpegs = draw_jpegs(shots, args.seed, args.workers)
    drawn = dict(progress(zip(shots, jpegs, strict=True), len(shots), "drawing", "face"))
    return [drawn[shot] for *both, _ in pairs for shot in both], [one_person for *_, one_person in pairs]


def synthetic_pairs(people: int, first_person: int, count: int, seed: int) -> list[tuple]:
    """`count` pairs ((person, face), (person, face), same) in ten folds: no person in two, half same in each.

    Each person has four faces, or as many as it takes for twice the pairs. Raises ValueError for fewer than 20
    people, or a count that ten folds of two halves do not divide.
    """
    if people < 2 * FOLDS or count < 2 * FOLDS or count % (2 * FOLDS):
        raise ValueError(f"need 20 people or more and a multiple of 20 pairs, got {people} people, {count} pairs")
    half = count // FOLDS // 2
    shared = people // FOLDS
    faces = FEWEST_FACES
    while shared * faces * (faces - 1) // 2 < 2 * half:
        faces += 1
    rng = random.Random(seed)
    pairs = []
    for group in np.array_split(np.arange(first_person, first_person + people), FOLDS):
        shots = [(int(person), face) for person in group for face in range(faces)]
        alike = [(a, b, True) for a, b in itertools.combinations(shots, 2) if a[0] == b[0]]
        pairs += rng.sample(alike, half)
        unlike = set()
        while len(unlike) < half:
            a, b = sorted(rng.sample(shots, 2))
            if a[0] != b[0]:
                unlike.add((a, b, False))
        pairs += sorted(unlike)
    return pairs


if __name__ == "__main__":
    sys.exit(main())
