"""Build the LFW and CelebA files that docs/benchmarks measures on, from your own copies of LFW-a and CelebA. Resumable.

    python tools/rebuild_bench.py OUT --lfw lfw-a --pairs pairs.txt --dev-test pairsDevTest.txt \\
        --celeba img_celeba --identities identity_CelebA.txt --celeba-points list_landmarks_celeba.txt

writes OUT/lfw/{lfw,lfw_folds9_10,lfw_split,lfw_view1}.bin, OUT/celeb240 and OUT/faces15k: set AIRD_DATA to OUT. --lfw alone
writes the four .bin files, --celeba alone OUT/celeb240. Landmarks come from InsightFace's detector if installed, or from files,
as in `aird align`. LFW's pairs and identities are exactly ours, which the command checks; the 240 CelebA identities are drawn
by a similar rule, because ours are not recorded. docs/benchmarks/data.md describes the effect on the figures.
"""

import argparse
import hashlib
import itertools
import os
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.alignment.photos import photos_in
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from tools.lib.bench_crops import crop, crop_at_mean, grey_jpeg
from tools.lib.celeba import draw_identities
from tools.lib.lfw import Pair, draw_split, in_folds, read_list

PAIRS, DEV_TEST_PAIRS, TEST_PAIRS = 6000, 1000, 1200
# sha256 of our lists/NAME.txt.
OUR_LISTS = {
    "lfw": "55506bb9b62f8968b0f3e5b5b8fff91604659b7dec61c6ee185e4606ee9b74f3",
    "lfw_folds9_10": "67d47bb04442a2668e415e6a971fa12ed0d20593008c40d2aa86beb1cc7aa44a",
    "lfw_split": "f51e17e58327f4771c66f7850ed9fdf5aab21b0cacc7c889f9730cb6afbcd80f",
    "lfw_view1": "bbaa03851784c97a4312a52e9069159aa0177400b4dea8fa73f350e1664124a0",
}


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    parser = argument_parser()
    args = expand_arguments(parser.parse_args(argv))
    if args.lfw is None and args.celeba is None:
        parser.error("give --lfw, --celeba or both")
    if args.lfw and not (args.pairs and args.dev_test):
        parser.error("--lfw requires LFW's lists: --pairs pairs.txt --dev-test pairsDevTest.txt")
    if args.celeba and not args.identities:
        parser.error("--celeba requires --identities identity_CelebA.txt")
    try:
        others = build_lfw(args) if args.lfw else []
        celebrities = build_celeba(args) if args.celeba else []
        if celebrities and others:
            write_records(args.out / "faces15k", celebrities + others)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("out", type=Path, metavar="OUT", help="output folder")
    add("--lfw", type=Path, metavar="DIR", help="LFW-a: DIR/NAME/NAME_0001.jpg")
    add("--pairs", type=Path, metavar="FILE", help="LFW's pairs.txt")
    add("--dev-test", type=Path, metavar="FILE", help="LFW's pairsDevTest.txt")
    add("--lfw-points", metavar="FILE", help="landmarks of LFW-a, instead of a detector")
    add("--celeba", type=Path, metavar="DIR", help="CelebA's photos, in the wild or aligned")
    add("--identities", type=Path, metavar="FILE", help="CelebA's identity_CelebA.txt")
    add("--celeba-points", metavar="FILE", help="landmarks of those photos, such as CelebA's own list")
    add("--detector", metavar="FILE", help="an InsightFace detector. default: the largest under ~/.insightface/models")
    return parser


def build_lfw(args) -> list[list[Path]]:
    """Write LFW's crops, lists and .bin files. Returns the crops of each identity outside the last two folds, sorted by name."""
    photos, accounting = photos_in(args.lfw)
    if line := accounting.line():
        print(line, file=sys.stderr)
    photos_of = Counter(Path(photo).parent.name for photo in photos)
    pairs, view1 = read_list(args.pairs, PAIRS), read_list(args.dev_test, DEV_TEST_PAIRS)
    check_photos(args.lfw, photos, itertools.chain(*pairs, *view1))
    test = pairs[-TEST_PAIRS:]
    tested = {name for pair in test for name, _ in pair}
    lists = {
        "lfw": pairs,
        "lfw_folds9_10": in_folds(test),
        "lfw_split": draw_split({name: photos_of[name] for name in tested}),
        "lfw_view1": in_folds(view1),
    }
    folder = args.out / "crops" / "lfw"
    crop(args.lfw, folder, photos, args.lfw_points, args.detector, grey_jpeg)
    crop_at_mean(args.lfw, folder, grey_jpeg)
    for name, pairs in lists.items():
        write_list(args.out, name, pairs, folder)
    crops = sorted(Path(photo).with_suffix(".jpg") for photo in photos)
    identities = itertools.groupby(crops, lambda file: file.parent.name)
    return [[folder / file for file in files] for name, files in identities if name not in tested]


def check_photos(root: Path, photos: list[str], shots) -> None:
    """Raise ValueError if a list names a missing photo."""
    there = {str(Path(photo).with_suffix("")) for photo in photos}
    missing = sorted({stem for name, number in shots if (stem := f"{name}/{name}_{number:04d}") not in there})
    if missing:
        lacks = f"{len(missing)} photos of the lists, such as {missing[0]}.jpg"
        raise ValueError(f"{root} lacks {lacks}; --lfw takes the complete folder with one subfolder per identity")


def write_list(out: Path, name: str, pairs: list[Pair], folder: Path) -> None:
    """Write OUT/lists/NAME.txt in LFW's format, which tools/make_bin.py reads, and OUT/lfw/NAME.bin."""
    text = "".join(f"{a}\t{i}\t{j}\n" if a == b else f"{a}\t{i}\t{b}\t{j}\n" for (a, i), (b, j) in pairs).encode()
    write_atomically(out / "lists" / f"{name}.txt", text)
    shots = list(itertools.chain(*pairs))
    crops = {shot: (folder / shot[0] / f"{shot[0]}_{shot[1]:04d}.jpg").read_bytes() for shot in set(shots)}
    write_pairs(out / "lfw" / f"{name}.bin", [crops[shot] for shot in shots], [a[0] == b[0] for a, b in pairs])
    ours = hashlib.sha256(text).hexdigest() == OUR_LISTS[name]
    match = "those of docs/benchmarks" if ours else "NOT those of docs/benchmarks; check that LFW and its lists are unchanged"
    print(f"{out / 'lfw' / name}.bin: {len(pairs)} pairs, {match}")


def build_celeba(args) -> list[list[Path]]:
    """Draw CelebA identities, write their crops and OUT/celeb240. Returns the crops of each identity."""
    drawn = draw_identities(args.identities)
    photos = list(itertools.chain(*drawn))
    missing = [photo for photo in photos if not (args.celeba / photo).is_file()]
    if missing:
        lacks = f"{len(missing)} of {len(photos)} photos, such as {missing[0]}"
        raise ValueError(f"{args.celeba} lacks {lacks}; --celeba takes the complete folder of photos")
    folder = args.out / "crops" / "celeba"
    crop(args.celeba, folder, photos, args.celeba_points, args.detector, encode_jpeg)
    crops = [[folder / photo for photo in own if (folder / photo).is_file()] for own in drawn]
    crops = [files for files in crops if files]
    write_records(args.out / "celeb240", crops)
    return crops


def write_records(folder: Path, crops: list[list[Path]]) -> None:
    """Write train.rec, train.idx and property of the crops of each identity, labels in their order."""
    items = ((label, file.read_bytes()) for label, files in enumerate(crops) for file in files)
    counted = progress(items, sum(map(len, crops)), f"packing {folder.name}", "images")
    images, labels = write_face_records(folder, counted, (FACE_SIDE, FACE_SIDE))
    print(f"{folder}: for a recipe: rec={str(folder)!r} num_classes={labels} num_image={images}")


if __name__ == "__main__":
    sys.exit(main())
