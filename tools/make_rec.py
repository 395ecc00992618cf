"""Write InsightFace record files (train.rec, train.idx, property) and labels.txt, the identities' names in label order.

From a folder with one subfolder of aligned images per identity:
    python tools/make_rec.py FOLDER OUT
From several training sets, record files or folders, as one (images stay byte for byte, but TIFF, PPM and GIF become PNG;
identities apart, or joined by a list):
    python tools/make_rec.py OUT --merge DIR_A B/train.rec FOLDER_C [--identity-map JOINS.csv]
The same, of one set or several, without what is listed, twice there, unlike its identity, or of an identity with too few images:
    python tools/make_rec.py OUT --merge SET --drop LIST --drop-duplicates --teacher FILE --least-cosine 0.3 --least-images 2
From synthetic identities:
    python tools/make_rec.py --synthetic OUT --people 200 --faces-per-person 20 --seed 0
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

import numpy as np

from aird_plugin.cli.tables import print_left_out
from aird_plugin.data.constants import IMAGE_KINDS
from aird_plugin.data.image_files import LOOSE, UNREADABLE, Accounting, find_identities
from aird_plugin.data.images import face_file, record_payload
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.records import open_records
from aird_plugin.utils.counts import counted, counted_identities
from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress
from aird_plugin.utils.terminal import print_any_name
from tools.lib.packing_filters import Dropped, drop_duplicates, drop_listed, drop_small, drop_unlike

# Options that only one kind of source has; beside another they would do nothing.
FOLDERS_OWN = ("size", "resize", "skip_bad")
MERGES_OWN = ("identity_map", "drop", "drop_duplicates", "teacher", "least_cosine", "least_images", "account")
SYNTHETICS_OWN = ("people", "faces_per_person", "first_person", "seed", "workers")


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    parser = argument_parser()
    args = expand_arguments(parser.parse_intermixed_args(argv))
    print_any_name()
    if [args.synthetic, args.folder is not None, args.merge is not None].count(True) != 1:
        parser.error("give FOLDER OUT, or OUT --merge SET SET ..., or --synthetic OUT")
    reject_ignored(parser, args)
    names, found = [], Accounting(Path(args.folder or "."))
    try:
        if args.merge:
            items = merged_items(args, names, found)
        else:
            items = synthetic_items(args, names) if args.synthetic else folder_items(args, names, found)
        side = 112 if args.synthetic else args.size
        images, identities = write_face_records(args.out, items, (side, side))
        write_atomically(Path(args.out) / "labels.txt", label_lines(names))
    except (ValueError, OSError) as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    skipped = len(found.left_out.get(UNREADABLE, ()))
    held = f"{counted(images, 'image')} of {counted_identities(identities)}"
    print(f"{args.out}/train.rec: {held}, {counted(skipped, 'file')} skipped")
    print(f"for a recipe: rec={str(args.out)!r} num_classes={identities} num_image={images}")
    found.taken = images
    print_left_out(found)
    return 0


def label_lines(names: list[str]) -> bytes:
    """A line for each name, in label order: line breaks within a name are written as \\n and \\r, other bytes unchanged."""
    lines = (name.replace("\n", "\\n").replace("\r", "\\r") for name in names)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def argument_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help=f"FOLDER/IDENTITY/*{IMAGE_KINDS}; hidden and system folders are left out"
    )
    parser.add_argument("out", metavar="OUT", help="folder for the record files")
    parser.add_argument("--size", type=int, default=112, help="side of the images in pixels (112)")
    parser.add_argument("--resize", action="store_true", help="resize square images of another size (bicubic)")
    parser.add_argument("--skip-bad", action="store_true", help="skip unusable images and list them")
    parser.add_argument("--merge", nargs="+", metavar="SET", help="training sets to write as one")
    parser.add_argument("--identity-map", default="", metavar="FILE", help="joins identities of --merge: set,label,identity")
    add = parser.add_argument_group("left out by --merge").add_argument
    add("--drop", metavar="LIST", help="images that this file names, one a line, as --account names them")
    add("--drop-duplicates", action="store_true", help="all but the first of images with equal bytes")
    add("--teacher", metavar="FILE", help="for --least-cosine")
    add("--least-cosine", type=float, metavar="C", help="images with a lower cosine to the mean of their identity's other images")
    add("--least-images", type=int, default=1, metavar="N", help="identities with fewer images left (1)")
    add("--account", metavar="FILE", help="write what is left out, and why, as CSV")
    synthetic = parser.add_argument_group("synthetic identities")
    synthetic.add_argument("--synthetic", action="store_true", help="draw synthetic images instead of reading a folder")
    synthetic.add_argument("--people", type=int, default=200, metavar="N", help="number of identities (200)")
    synthetic.add_argument("--faces-per-person", type=int, default=20, metavar="K", help="images of each identity (20)")
    synthetic.add_argument("--first-person", type=int, default=0, metavar="I", help="number of the first identity (0)")
    synthetic.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the identities (0)")
    synthetic.add_argument("--workers", type=int, default=os.cpu_count(), help="drawing processes (one per core)")
    return parser


def reject_ignored(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Stop at an option that the given kind of source does not have."""
    own = {FOLDERS_OWN: args.folder, MERGES_OWN: args.merge, SYNTHETICS_OWN: args.synthetic}
    without = [key for keys, given in own.items() if not given for key in keys]
    ignored = [key for key in without if getattr(args, key) != parser.get_default(key)]
    if ignored:
        remedy = "; OUT --merge FOLDER has it for a folder too" if args.folder and not set(ignored) - set(MERGES_OWN) else ""
        ignored = [f"--{key.replace('_', '-')}" for key in ignored]
        parser.error(f"{', '.join(ignored)} has no effect here{remedy}")


def folder_items(args, names: list, found: Accounting):
    """Yield (label, JPEG) of every usable image; fills `names` in label order and `found` with what is left out."""
    if not Path(args.folder).is_dir():
        raise ValueError(f"{args.folder} is not a folder; give a folder with one subfolder of images per identity")
    identities, loose, walk = find_identities(args.folder)
    found.left_out = walk.left_out
    found.leave_out(LOOSE, *(file.name for file in loose))
    files = [(name, file) for name, images in identities for file in images]
    if not files:
        line = found.line()
        raise ValueError(f"{args.folder} contains no IDENTITY/*{IMAGE_KINDS}" + (f". {line}" if line else ""))
    for name, file in progress(files, len(files), "packing", "images"):
        try:
            payload = face_file(file, args.size, args.resize)
        except (ValueError, OSError) as error:
            if not args.skip_bad:
                raise ValueError(f"{error}; --skip-bad skips such files") from error
            print(f"skipped: {error}")
            found.leave_out(UNREADABLE, file.relative_to(args.folder))
            continue
        if not names or names[-1] != name:
            names.append(name)
        yield len(names) - 1, payload


def merged_items(args, names: list, found: Accounting):
    """Yield (label, image file) of every image of the sets that is kept, by identity; fills `names` with each identity's first
    image, and `found` with what is left out."""
    records = open_records(tuple(args.merge), args.identity_map)
    if not records.num_classes:
        raise ValueError(f"{records.path} has no labels: give training sets with identities")
    found.folder, found.left_out = Path(records.path), dict(records.left_out.left_out)
    dropped = filtered(args, records)
    for row, (reason, _) in sorted(dropped.why.items()):
        found.leave_out(reason, dropped.name(row))
    kept = dropped.kept()
    rows, last = kept[np.argsort(records.labels[kept], kind="stable")], -1
    for row in progress(rows.tolist(), len(rows), "packing", "images"):
        label = int(records.labels[row])
        if label != last:
            names.append(f"label {label}, first image {records.where(row)}")
            last = label
        yield len(names) - 1, record_payload(records.payload(row), records.where(row))


def filtered(args, records) -> Dropped:
    """What the arguments leave out of the sets. Raises ValueError for a cosine without a teacher."""
    if (args.least_cosine is None) != (args.teacher is None):
        raise ValueError("--least-cosine and --teacher belong together")
    dropped = Dropped(records)
    if args.drop:
        drop_listed(dropped, args.drop)
    if args.drop_duplicates:
        drop_duplicates(dropped)
    if args.teacher:
        from aird_plugin.models.load import load_teacher

        drop_unlike(dropped, load_teacher(args.teacher), args.least_cosine)
    drop_small(dropped, args.least_images)
    if args.account:
        dropped.write(args.account)
    return dropped


def synthetic_items(args, names: list):
    """Yield (label, JPEG) of `args.people` synthetic identities; fills `names`."""
    from aird_plugin.data.synthetic.draw import draw_jpegs

    if args.people < 1 or args.faces_per_person < 1:
        raise ValueError(
            f"need at least one identity and one image, got {args.people} identities, {args.faces_per_person} images each"
        )
    names.extend(f"synthetic {identity}" for identity in range(args.first_person, args.first_person + args.people))
    labels = [label for label in range(args.people) for _ in range(args.faces_per_person)]
    shots = [(args.first_person + label, index % args.faces_per_person) for index, label in enumerate(labels)]
    jpegs = draw_jpegs(shots, args.seed, args.workers)
    yield from progress(zip(labels, jpegs, strict=True), len(labels), "drawing", "images")


if __name__ == "__main__":
    sys.exit(main())
