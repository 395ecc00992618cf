"""`aird align`: photos -> aligned crops in the same arrangement of folders. Heavy imports stand inside the functions."""

import argparse
from pathlib import Path

EPILOG = """\
Photos lie in any arrangement of folders, which is kept: FOLDER/person/a.jpg gives DIR/person/a.jpg, which tools/make_rec.py,
`aird adapt` and training take. They are turned upright as their EXIF data say; the landmarks of --points are those of the
upright photo. Of several faces the one counts that is large and central: the greatest area less twice the squared distance from
the middle (InsightFace's rule). DIR/align.csv tells of every face how many pixels it really had, and of every photo that gave
none why. A photo that cannot be read is skipped, and listed there; the exit code is 0 unless no face was cropped at all. The
same command again goes on where the last one stopped.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird align`."""
    parser.epilog, add = EPILOG, parser.add_argument
    add("folder", metavar="FOLDER", help="photos: .jpg, .png, .bmp, .webp")
    add("--out", metavar="DIR", required=True, help="where the crops go (112 px, JPEG)")
    add("--points", metavar="FILE", help="landmarks, instead of a detector: a CSV of path,x1,y1,...,x5,y5, or CelebA's list")
    add("--detector", metavar="FILE", help="a detector of InsightFace's. default: the largest under ~/.insightface/models")
    add("--score", metavar="F", type=float, default=0.5, help="what the detector must give a face, 0 to 1. default: 0.5")
    add("--det-size", metavar="N", type=int, default=640, help="photos are fitted to N px for the detector. default: 640")
    add("--all", action="store_true", help="crop every face; names end in _0 (the one that counts most), _1, ...")
    add("--min-px", metavar="N", type=int, default=1, help="leave out faces whose crop spans fewer pixels of the photo than this")


def run(args: argparse.Namespace) -> int:
    """Crop, tell what was done. Raises ValueError or OSError for bad input, before anything is written."""
    from aird_plugin.alignment.ledger import TABLE, Ledger, summary
    from aird_plugin.alignment.photos import crop_photo, photos_in
    from aird_plugin.progress import progress

    folder, out = Path(args.folder), Path(args.out)
    check(args, folder, out)
    names = photos_in(folder)
    finder = open_finder(args, names)
    settings = {
        "folder": folder.resolve().name, "faces from": finder.describe(), "--score": args.score, "--det-size": args.det_size,
        "--all": args.all, "--min-px": args.min_px,
    }  # fmt: skip
    with Ledger(out, settings) as ledger:
        left = [name for name in names if name not in ledger.done]
        if len(left) < len(names):
            print(f"{len(names) - len(left)} of {len(names)} photos were done before")
        for name in progress(left, len(names), "aligning", "photo", initial=len(names) - len(left)):
            ledger.write(crop_photo(folder, out, name, finder, args.all, args.min_px))
    told = summary(ledger)
    if not ledger.px:
        raise ValueError(f"no face was cropped. {told}")
    print(f"{told}\n{out}: crops, and {TABLE} with every face")
    return 0


def check(args: argparse.Namespace, folder: Path, out: Path) -> None:
    """ValueError or FileNotFoundError where the arguments make no sense."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of photos at {folder}")
    if out.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"--out {out} lies within {folder}: the crops would be photos next time; name a folder elsewhere")
    if args.points and args.detector:
        raise ValueError("--points names the faces already: leave --detector out")
    if not 0 < args.score < 1:
        raise ValueError(f"--score must lie between 0 and 1, got {args.score}")
    if args.det_size < 32 or args.det_size % 32:
        raise ValueError(f"--det-size must be a multiple of 32 (the detector's coarsest step), got {args.det_size}")
    if args.min_px < 1:
        raise ValueError(f"--min-px must be 1 or more, got {args.min_px}")


def open_finder(args: argparse.Namespace, names: list[str]):
    """Who finds the faces: the file of landmarks, or a detector."""
    from aird_plugin.alignment.detector import Detector, find_detector
    from aird_plugin.alignment.landmarks import Landmarks

    if not args.points:
        detector = Detector(find_detector(args.detector), args.score, args.det_size)
        print(f"detector: {detector.file}, photos fitted to {detector.side} px")
        return detector
    landmarks = Landmarks(args.points)
    known = sum(name in landmarks.points_F52 for name in names)
    if not known:
        theirs = next(iter(landmarks.points_F52))
        raise ValueError(f"{args.points} names none of these photos: it has {theirs!r}, the folder {names[0]!r}")
    print(f"landmarks: {args.points} names {known} of {len(names)} photos")
    return landmarks
