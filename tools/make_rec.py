"""Make InsightFace record files (train.rec, train.idx, property) and labels.txt, the people's names in label order.

From a folder with one subfolder of aligned pictures for each person:
    python tools/make_rec.py FOLDER OUT
From people drawn by rule:
    python tools/make_rec.py --synthetic OUT --people 200 --faces-per-person 20 --seed 0
"""

import argparse
import os
import sys
from pathlib import Path

from aird_plugin.threads import bound_spinning

bound_spinning()

from aird_plugin.data.facerec import write_face_records
from aird_plugin.data.folder import people_in
from aird_plugin.data.images import face_file
from aird_plugin.files import write_atomically
from aird_plugin.paths import expand_arguments
from aird_plugin.progress import progress


def main(argv: list[str] | None = None) -> int:
    """Run with the arguments of the command line. Returns the exit status."""
    parser = argument_parser()
    args = expand_arguments(parser.parse_intermixed_args(argv))
    if args.synthetic == (args.folder is not None):
        parser.error("give FOLDER OUT, or --synthetic OUT")
    names, bad = [], []
    try:
        items = synthetic_items(args, names) if args.synthetic else folder_items(args, names, bad)
        side = 112 if args.synthetic else args.size
        images, people = write_face_records(args.out, items, (side, side))
        write_atomically(Path(args.out) / "labels.txt", "".join(f"{name}\n" for name in names).encode())
    except (ValueError, OSError) as error:
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    for why in bad:
        print(f"left out: {why}")
    print(f"{args.out}/train.rec: {images} faces of {people} people, {len(bad)} files left out")
    print(f"for a recipe: rec={str(args.out)!r} num_classes={people} num_image={images}")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """The command line, all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="FOLDER/person/*.jpg, .png, .bmp or .webp")
    parser.add_argument("out", metavar="OUT", help="folder for the record files")
    parser.add_argument("--size", type=int, default=112, help="side of a face in pixels (112)")
    parser.add_argument("--resize", action="store_true", help="resize square pictures of another size (bicubic)")
    parser.add_argument("--skip-bad", action="store_true", help="leave out pictures that cannot be used, and list them")
    synthetic = parser.add_argument_group("people drawn by rule")
    synthetic.add_argument("--synthetic", action="store_true", help="draw people instead of reading a folder")
    synthetic.add_argument("--people", type=int, default=200, metavar="N", help="how many (200)")
    synthetic.add_argument("--faces-per-person", type=int, default=20, metavar="K", help="pictures of each (20)")
    synthetic.add_argument("--first-person", type=int, default=0, metavar="I", help="number of the first one (0)")
    synthetic.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other people (0)")
    synthetic.add_argument("--workers", type=int, default=os.cpu_count(), help="drawing processes (one a core)")
    return parser


def folder_items(args, names: list, bad: list):
    """(label, JPEG) of every usable picture; fills `names` in label order and `bad` with reasons."""
    if not Path(args.folder).is_dir():
        raise ValueError(f"{args.folder} is no folder; it should hold one subfolder of pictures for each person")
    files = [(name, file) for name, found in people_in(Path(args.folder)) for file in found]
    if not files:
        raise ValueError(f"{args.folder} holds no person/*.jpg, .png, .bmp or .webp")
    for name, file in progress(files, len(files), "packing", "face"):
        try:
            payload = face_file(file, args.size, args.resize)
        except (ValueError, OSError) as error:
            if not args.skip_bad:
                raise ValueError(f"{error}; --skip-bad leaves such files out") from error
            bad.append(str(error))
            continue
        if not names or names[-1] != name:
            names.append(name)
        yield len(names) - 1, payload


def synthetic_items(args, names: list):
    """(label, JPEG) of `args.people` drawn people; fills `names`."""
    from aird_plugin.data.synthetic_files import draw_jpegs

    if args.people < 1 or args.faces_per_person < 1:
        raise ValueError(f"need a person and a face, got {args.people} people, {args.faces_per_person} faces each")
    names.extend(f"synthetic {person}" for person in range(args.first_person, args.first_person + args.people))
    labels = [label for label in range(args.people) for _ in range(args.faces_per_person)]
    shots = [(args.first_person + label, place % args.faces_per_person) for place, label in enumerate(labels)]
    jpegs = draw_jpegs(shots, args.seed, args.workers)
    yield from progress(zip(labels, jpegs, strict=True), len(labels), "drawing", "face")


if __name__ == "__main__":
    sys.exit(main())
