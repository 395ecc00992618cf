"""`aird recognise`: a video, a folder of frames or a photo -> names. Heavy imports are inside the functions."""

import argparse
import sys
from pathlib import Path

from aird_plugin.cli.model_arguments import add_model_arguments, describe, open_analysis

SETTINGS = "recognise.json"
EPILOG = """\
Faces are detected, embedded by the network for their size, and joined to tracks; each track is pooled into one template and
named if its cosine is above the threshold measured for its px, else unknown. Without measured thresholds there is no decision.
--far is the false-accept rate of ONE comparison: with N identities in the gallery, an identity that is not enrolled is named up
to N times as often.
With --out the same command resumes an interrupted run, and a changed --far or gallery (of the same models) decides anew without
detecting and embedding the faces again. --out holds embeddings, which are biometric data. Recognising people without their
knowledge is unlawful in many places: docs/recognise.md. Needs `pip install aird_plugin[insightface,video]`; photos do not need
`video`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird recognise`."""
    parser.epilog, add = EPILOG, parser.add_argument
    add(
        "input",
        metavar="INPUT",
        help="a video (or animated image), a folder of frames (in the order of their names, frame_2 before frame_10), or a photo",
    )
    add("--gallery", metavar="FILE", required=True, help="a gallery of `aird enrol`, made with the same models")
    add("--far", metavar="F", type=float, default=0.01, help="false-accept rate of one comparison. default: 0.01")
    add(
        "--out",
        metavar="DIR",
        help="write faces.csv and annotated frames or video here; resumable. default: print a summary only",
    )
    add("--json", action="store_true", help="also write faces.jsonl; without --out print JSON lines instead of a summary")
    add("--no-faces", action="store_true", help="write no image and no video")
    add("--no-tracks", action="store_true", help="decide on each face alone, for a folder of unrelated photos")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Recognise the faces of a video, a folder of frames or a photo.

    Raises ValueError, OSError or ImportError before any frame is read if the run is not possible, ValueError if no frame can be
    read, and Interrupted after Ctrl-C; then the files hold the frames so far.
    """
    from aird_plugin.recognition.frames import FrameSource
    from aird_plugin.recognition.gallery import Gallery
    from aird_plugin.recognition.output import TABLE
    from aird_plugin.recognition.recognise import check_tracker, settings_of
    from aird_plugin.utils.writer_lock import WriterLock

    if not 0 < args.far < 1:
        raise ValueError(f"--far must be above 0 and below 1, got {args.far}")
    out = Path(args.out) if args.out else None
    source = FrameSource(args.input)
    check_tracker(source, not args.no_tracks)
    analysis = open_analysis(args)
    gallery = Gallery.load(args.gallery, analysis)
    if not len(gallery):
        raise ValueError(f"{args.gallery} has no identity; enrol somebody with `aird enrol`")
    if not out:
        process(source, analysis, gallery, args)
        return 0
    open_out(out, source.path, settings_of(source, analysis, args.score))
    lock = WriterLock(out / TABLE)
    try:
        process(source, analysis, gallery, args, out)
    finally:
        lock.release()
    return 0


def process(source, analysis, gallery, args: argparse.Namespace, out: Path | None = None) -> None:
    """Recognise the faces, write the files into `out` if there is one, and print the result. Raises as `run`."""
    from aird_plugin.recognition.frame_store import FrameStore
    from aird_plugin.recognition.recognise import collect, decide
    from aird_plugin.utils.counts import counted
    from aird_plugin.utils.errors import Interrupted

    quiet = args.json and not out
    if not quiet:
        print(describe(analysis))
    store = FrameStore(out)
    finished = collect(source, analysis, store)
    result = decide(store, source, gallery, args.far, not args.no_tracks)
    if finished and len(result.broken) == result.n_frames:
        raise ValueError(f"no frame of {source.path} can be read: {result.broken[0]}")
    if out:
        write(out, source, result, args)
    print_result(result, quiet)
    if not finished:
        again = "; the same command resumes" if out else ""
        raise Interrupted(f"stopped after {counted(result.n_frames, 'frame')}{again}")


def open_out(out: Path, source: Path, settings: dict) -> None:
    """Write the settings into a new output folder, or compare them. ValueError for others, or a folder below the frames."""
    from aird_plugin.recognition.frames import STATS
    from aird_plugin.utils.folder_settings import keep_settings

    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"--out {out} lies within {source}: the next run would read what is written as frames; name another")
    # Output folders of earlier versions state only the size of the input.
    keep_settings(out, SETTINGS, settings, {STATS: settings[STATS]})


def write(out: Path, source, result, args: argparse.Namespace) -> None:
    """Write the files, remove those of an earlier run that this one does not write, and print the names."""
    from aird_plugin.recognition.annotated import remove_annotated, write_annotated
    from aird_plugin.recognition.output import LINES, json_lines, write_table
    from aird_plugin.utils.files import write_atomically

    remove_annotated(out)
    (out / LINES).unlink(missing_ok=True)
    files = [write_table(out, result)]
    if args.json:
        write_atomically(out / LINES, json_lines(result))
        files.append(out / LINES)
    if not args.no_faces and (drawn := write_annotated(out, source, result)):
        files.append(drawn)
    print("\n".join(map(str, files)))


def print_result(result, as_json: bool) -> None:
    """Print the summary or JSON lines, and why frames are broken to stderr."""
    from aird_plugin.recognition.output import broken_frames, json_lines, summary

    if as_json:
        # As bytes: JSON is UTF-8, whatever the terminal's encoding.
        sys.stdout.buffer.write(json_lines(result))
        sys.stdout.flush()
    else:
        print(summary(result))
    if result.broken:
        print(broken_frames(result), file=sys.stderr)
