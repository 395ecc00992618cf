"""`aird align`: photos -> aligned crops in the same folder structure. Heavy imports are inside the functions."""

import argparse
from contextlib import closing
from pathlib import Path

EPILOG = """\
The folder structure of the photos is kept: FOLDER/identity/a.jpg becomes DIR/identity/a.jpg, which tools/make_rec.py,
`aird adapt` and training read. Photos are rotated upright by their EXIF orientation; the landmarks of --points refer to the
upright photo. Of several faces in a photo, the large and central one is cropped: the greatest area minus twice the squared
distance from the center (InsightFace's rule). --pick names another rule, --all crops every face. DIR/align.csv lists the size of
every face in photo pixels, and the reason for every photo without a crop. A photo that cannot be read is skipped and listed
there. The exit code is 0 unless no face was cropped at all. The same command resumes an interrupted run. Alignment needs
`pip install aird_plugin[insightface]`.
"""
# The rules of `alignment.detections.PICKS`, which imports numpy.
PICKS = ("prominent", "largest", "central")
PROMINENT = "prominent"
SCORE, DET_SIZE = 0.5, 640
FEW_FACES = (
    "most photos have no face for the detector at --det-size {side}: it misses faces that fill a photo, which a smaller size "
    "finds (--det-size 160), and small ones, which need a larger size"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird align`."""
    parser.epilog, add = EPILOG, parser.add_argument
    add("folder", metavar="FOLDER", help="photos, in folders of any depth: .jpg, .png, .bmp, .webp, .tif, .ppm, .pgm, .gif")
    add("--out", metavar="DIR", required=True, help="output folder of the crops (112 px, JPEG)")
    add(
        "--points",
        metavar="FILE",
        help="landmark file instead of a detector: a CSV of path,x1,y1,...,x5,y5 in photo pixels, or CelebA's list",
    )
    add("--detector", metavar="FILE", help="InsightFace detector. default: the largest under ~/.insightface/models")
    add("--score", metavar="F", type=float, help="detection threshold, 0 to 1. default: 0.5")
    add("--det-size", metavar="N", type=int, help="resize photos to fit N px for the detector. default: 640")
    add("--all", action="store_true", help="crop every face; names end in _0 (the one --pick would take), _1, ...")
    add(
        "--pick",
        choices=PICKS,
        default=PROMINENT,
        help="which of several faces: the large and central, the largest, or the most central one. default: prominent",
    )
    add("--workers", metavar="N", type=int, help="number of processes. default: one per core, fewer for few photos")
    add(
        "--min-px", metavar="N", type=int, default=1, help="skip faces whose crop has fewer photo pixels along a side. default: 1"
    )


def run(args: argparse.Namespace) -> int:
    """Crop the faces of photos to 112 px, aligned by five landmarks, and print a summary.

    Raises ValueError, OSError or ImportError before anything is written.
    """
    from aird_plugin.alignment.crop import skimage_transform
    from aird_plugin.alignment.log import NO_FACE, TABLE, AlignmentLog, summary
    from aird_plugin.alignment.photos import CropSettings, photos_in
    from aird_plugin.alignment.workers import Job, crop_all, processes_for
    from aird_plugin.cli.tables import print_left_out
    from aird_plugin.utils.progress import progress

    folder, out = Path(args.folder), Path(args.out)
    check(args, folder, out)
    score, det_size = SCORE if args.score is None else args.score, DET_SIZE if args.det_size is None else args.det_size
    names, found = photos_in(folder)
    source = open_landmark_source(args, names, score, det_size)
    skimage_transform()  # its ImportError comes before anything is written
    settings = {
        "folder": folder.resolve().name,
        "faces from": source.describe(),
        "--score": score,
        "--det-size": det_size,
        "--all": args.all,
        "--min-px": args.min_px,
        "--pick": args.pick,
    }
    detector = None if args.points else (source.file, score, det_size)
    job = Job(folder, out, CropSettings(args.all, args.min_px, args.pick), detector, args.points)
    with AlignmentLog(out, settings, folder) as log:
        left = [name for name in names if name not in log.done]
        if len(left) < len(names):
            print(f"{len(names) - len(left)} of {len(names)} photos were processed before")
        processes = processes_for(len(left), args.workers)
        with closing(crop_all(left, job, source, processes)) as results:
            for rows in progress(results, len(names), "aligning", "photos", initial=len(names) - len(left)):
                log.write(rows)
    text = summary(log)
    if not args.points and log.counts[NO_FACE] * 2 > len(log.photos):
        text += f"\n{FEW_FACES.format(side=det_size)}"
    if not log.px:
        raise ValueError(f"no face was cropped. {text}")
    print(f"{text}\n{out}: crops, and {TABLE} with a row for every face")
    print_left_out(found)
    return 0


def check(args: argparse.Namespace, folder: Path, out: Path) -> None:
    """Raise ValueError or FileNotFoundError for invalid arguments."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of photos at {folder}")
    if out.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"--out {out} lies within {folder}: the next run would read the crops as photos; name another")
    if args.points and args.detector:
        raise ValueError("--points and --detector exclude each other: drop one of them")
    if args.points and not (args.score is None and args.det_size is None):
        raise ValueError("--score and --det-size are a detector's, and --points replaces it: leave them out")
    if args.score is not None and not 0 < args.score < 1:
        raise ValueError(f"--score must be above 0 and below 1, got {args.score}")
    if args.det_size is not None and (args.det_size < 32 or args.det_size % 32):
        raise ValueError(f"--det-size must be a multiple of 32 (the detector's coarsest step), got {args.det_size}")
    if args.workers is not None and args.workers < 1:
        raise ValueError(f"--workers must be 1 or more, got {args.workers}")
    if args.min_px < 1:
        raise ValueError(f"--min-px must be 1 or more, got {args.min_px}")


def open_landmark_source(args: argparse.Namespace, names: list[str], score: float, det_size: int):
    """Open the landmark file or the detector."""
    from aird_plugin.alignment.detector import Detector, find_detector
    from aird_plugin.alignment.landmarks import Landmarks

    if not args.points:
        detector = Detector(find_detector(args.detector), score, det_size)
        print(f"detector: {detector.file}, photos resized to fit {detector.side} px")
        return detector
    landmarks = Landmarks(args.points)
    listed = sum(name in landmarks.points_F52 for name in names)
    if not listed:
        first = next(iter(landmarks.points_F52))
        raise ValueError(f"{args.points} lists none of these photos: it has {first!r}, the folder {names[0]!r}")
    print(f"landmarks: {args.points} lists {listed} of {len(names)} photos")
    return landmarks
