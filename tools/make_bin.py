"""Write an InsightFace verification file (.bin) of image pairs.

From a list of aligned images, one `path_a path_b 0|1` per line (1: same identity; tabs if names contain blanks), or LFW's
pairs.txt (`name i j` and `name_a i name_b j`, files DIR/name/name_0001.jpg):
    python tools/make_bin.py PAIRS.txt OUT.bin --root DIR
From the published lists of CALFW, CPLFW, AgeDB-30 (its .mat needs scipy) and CFP (FF or FP), aligned images below DIR:
    python tools/make_bin.py pairs_CALFW.txt OUT.bin --root DIR
    python tools/make_bin.py 04_FINAL_protocol_30_years.mat OUT.bin --root DIR
    python tools/make_bin.py cfp-dataset/Protocol/Split/FP OUT.bin --root DIR
From a bcolz folder of face.evoLVe, InsightFace_Pytorch or AdaFace (agedb_30 with agedb_30_list.npy beside it):
    python tools/make_bin.py agedb_30 OUT.bin
From QMUL-SurvFace's verification set as published, images stretched to squares (needs scipy):
    python tools/make_bin.py --survface QMUL-SurvFace OUT.bin
From identities that are taken out of a training set, in ten folds without a common identity: for choices of recipe keys, so that
none is made on a test set. The other identities become the training set DIR:
    python tools/make_bin.py --holdout faces15k OUT.bin --rest DIR --people 200 --pairs 2000 --seed 0
From synthetic identities, in ten folds without a common identity:
    python tools/make_bin.py --synthetic OUT.bin --people 60 --first-person 1000 --pairs 1200 --seed 0
"""

import argparse
import functools
import io
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np
from PIL import Image

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.identification import ImageFile, read_square
from aird_plugin.data.images import face_file
from aird_plugin.data.matlab_lists import survface_pairs
from aird_plugin.data.pairs import write_pairs
from aird_plugin.utils.files import check_writable
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from aird_plugin.utils.warning import warn
from tools.lib.bcolz_pairs import bcolz_images, is_bcolz
from tools.lib.holdout import split_training_set
from tools.lib.pair_lists import read_pair_list
from tools.lib.pair_sampling import FOLDS, genuine_per_fold, held_out_pairs, synthetic_pairs

# The options that each kind of source has; beside another they would do nothing.
OPTIONS = {
    "list": ("root", "resize"),
    "bcolz": ("rgb",),
    "survface": (),
    "holdout": ("people", "pairs", "seed"),
    "synthetic": ("people", "first_person", "pairs", "seed", "workers"),
}


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    parser = argument_parser()
    args = expand_arguments(parser.parse_intermixed_args(argv))
    sources = [args.synthetic, args.survface is not None, args.holdout is not None, args.pairs_file is not None]
    if sources.count(True) != 1 or (args.holdout is None) != (args.rest is None):
        others = "--survface DIR OUT.bin, or --synthetic OUT.bin, or --holdout REC OUT.bin --rest DIR"
        parser.error(f"give PAIRS.txt OUT.bin --root DIR, or {others}")
    reject_ignored(parser, args)
    try:
        check_writable(Path(args.out))
        if args.synthetic:
            images, same = synthetic_images(args)
        elif args.holdout:
            half = genuine_per_fold(args.pairs, args.people)
            place = (Path(args.holdout), Path(args.rest), args.people, args.seed)
            images, same = split_training_set(*place, lambda rows, rng: held_out_pairs(rows, half, rng))
        elif args.survface:
            images, same = survface_images(Path(args.survface))
        elif is_bcolz(Path(args.pairs_file)):
            images, same = bcolz_images(Path(args.pairs_file), args.rgb)
        else:
            images, same = listed_images(Path(args.pairs_file), Path(args.root), args.resize)
        write_pairs(args.out, images, same)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(same)} pairs, {sum(same)} genuine, {len(set(images))} images")
    if warning := fold_warning(same):
        warn(warning)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs_file", nargs="?", metavar="PAIRS.txt", help="list of pairs, or one of the folders above")
    parser.add_argument("out", metavar="OUT.bin", help="file to write")
    parser.add_argument("--root", default=".", metavar="DIR", help="folder that the list's paths are relative to (.)")
    parser.add_argument("--resize", action="store_true", help="resize square images to 112 px (bicubic)")
    parser.add_argument("--rgb", action="store_true", help="a bcolz folder holds RGB, not BGR as its makers' scripts write")
    parser.add_argument("--survface", metavar="DIR", help="use the verification pairs of QMUL-SurvFace")
    parser.add_argument("--holdout", metavar="REC", help="hold out identities of this training set (its folder)")
    parser.add_argument("--rest", metavar="DIR", help="with --holdout: write the training set without them")
    synthetic = parser.add_argument_group("synthetic or held-out identities")
    synthetic.add_argument("--synthetic", action="store_true", help="draw synthetic images instead of reading a list")
    synthetic.add_argument("--people", type=int, default=60, metavar="N", help="number of identities, 20 or more (60)")
    synthetic.add_argument("--first-person", type=int, default=0, metavar="I", help="number of the first identity (0)")
    synthetic.add_argument("--pairs", type=int, default=1200, metavar="M", help="number of pairs, a multiple of 20 (1200)")
    synthetic.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the identities (0)")
    synthetic.add_argument("--workers", type=int, default=os.cpu_count(), help="drawing processes (one per core)")
    return parser


def reject_ignored(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Stop at an option that the given kind of source does not have."""
    listed = "bcolz" if args.pairs_file and is_bcolz(Path(args.pairs_file)) else "list"
    kind = next((kind for kind in ("synthetic", "holdout", "survface") if getattr(args, kind)), listed)
    others = dict.fromkeys(key for keys in OPTIONS.values() for key in keys if key not in OPTIONS[kind])
    ignored = [f"--{key.replace('_', '-')}" for key in others if getattr(args, key) != parser.get_default(key)]
    if ignored:
        parser.error(f"{', '.join(ignored)} has no effect here")


def listed_images(source: Path, root: Path, resize: bool) -> tuple[list[bytes], list[bool]]:
    """Images and genuine flags of a list. 112 px JPEG and PNG files are stored unchanged. ValueError names the failing line, or
    the list where it is empty."""
    pairs = read_pair_list(source, root)
    if not pairs:
        raise ValueError(f"{source} lists no pair")
    images = []
    read = functools.cache(functools.partial(face_file, resize=resize, keep=("JPEG", "PNG")))
    for pair in progress(pairs, len(pairs), "packing", "pairs"):
        try:
            images += map(read, pair.find())
        except (ValueError, OSError) as error:
            raise ValueError(f"{pair.where}: {error}") from error
    return images, [pair.same for pair in pairs]


def survface_images(folder: Path) -> tuple[list[bytes], list[bool]]:
    """Images and genuine flags of QMUL-SurvFace's pairs; every image becomes a 112 px PNG, without a second JPEG loss."""
    pairs = survface_pairs(folder)
    files = sorted({file for *both, _ in pairs for file in both})
    known = {}
    for file in progress(files, len(files), "packing", "images"):
        content = io.BytesIO()
        Image.fromarray(read_square([ImageFile(str(file))], FACE_SIDE)[0]).save(content, "PNG")
        known[file] = content.getvalue()
    return [known[file] for *both, _ in pairs for file in both], [genuine for *_, genuine in pairs]


def fold_warning(same: list[bool]) -> str | None:
    """A warning if InsightFace's ten folds of this list are unusable, else None."""
    if len(same) < FOLDS:
        return f"{len(same)} pairs; InsightFace's ten folds need ten pairs or more"
    one_sided = [number for number, fold in enumerate(np.array_split(same, FOLDS), 1) if fold.all() or not fold.any()]
    if one_sided:
        return f"fold {one_sided[0]} of the ten has only genuine or only impostor pairs; shuffle the lines of the list"
    return None


def synthetic_images(args) -> tuple[list[bytes], list[bool]]:
    """Images and genuine flags of pairs of synthetic identities."""
    from aird_plugin.data.synthetic.draw import draw_jpegs

    pairs = synthetic_pairs(args.people, args.first_person, args.pairs, args.seed)
    shots = sorted({shot for *both, _ in pairs for shot in both})
    jpegs = draw_jpegs(shots, args.seed, args.workers)
    drawn = dict(progress(zip(shots, jpegs, strict=True), len(shots), "drawing", "images"))
    return [drawn[shot] for *both, _ in pairs for shot in both], [genuine for *_, genuine in pairs]


if __name__ == "__main__":
    sys.exit(main())
