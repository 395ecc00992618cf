"""`aird demo`: two faces, or the names in a photo, in the browser. Heavy imports are inside the functions."""

import argparse
import functools
from pathlib import Path

from aird_plugin.cli.input_arguments import INPUT_FLAGS, parse_input
from aird_plugin.utils.warning import warn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird demo`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="the student: a run folder, an exported folder, an .onnx file, or a bare .pt file")
    add(
        "--teacher",
        metavar="FILE",
        help="also show the teacher, .onnx or .pt; in photos it embeds the large faces. default: none",
    )
    add(
        "--gallery",
        metavar="PATH",
        help="gallery whose names the page shows: a folder (ID/photo.jpg or ID.jpg) or a file of `aird enrol`",
    )
    for flag, options in INPUT_FLAGS.items():
        add(flag, **options)
    add("--thresholds", metavar="FILE", help="thresholds.json of the student. default: that of the exported folder")
    add("--pairs", metavar="FILE", help="measure the thresholds of student and teacher on this .bin while the page is served")
    add("--detector", metavar="FILE", help="InsightFace detector. default: the largest under ~/.insightface/models")
    add("--network", metavar="NAME", help="architecture of a bare .pt file, for example native16_1m. default: by its keys")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on. default: 127.0.0.1, this machine only")
    add("--port", metavar="N", type=int, default=8112, help="port; 0 picks a free one. default: 8112")


def run(args: argparse.Namespace) -> int:
    """Serve a browser page that names the faces of a photo and compares two faces, until Ctrl-C.

    Models are loaded, and thresholds measured, while the page is served.
    Raises ValueError, OSError or ImportError for bad input, where it takes longer to find after serving has begun.
    """
    check(args)
    from aird_plugin.demo.app import DemoOptions, in_background, is_loopback, open_demo

    options = DemoOptions(
        model=args.model,
        network=args.network,
        teacher=args.teacher,
        thresholds=args.thresholds,
        pairs=args.pairs,
        detector=args.detector,
        gallery=args.gallery,
        host=args.host,
        port=args.port,
        model_input=parse_input("--input", args.input),
        teacher_input=parse_input("--teacher-input", args.teacher_input, args.teacher),
    )
    log = functools.partial(print, flush=True)
    with open_demo(options) as server:
        if not is_loopback(args.host):
            warn(f"--host {args.host}: other machines can open the page, unencrypted, no password")
        log(f"{server.url} (press Ctrl-C to stop)")
        with in_background(server, options, log):
            server.serve_forever()
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise ValueError or FileNotFoundError for invalid arguments."""
    if args.thresholds and args.pairs:
        raise ValueError("got both --thresholds (a file) and --pairs (measures thresholds); give one of the two")
    if args.pairs and not Path(args.pairs).is_file():
        raise FileNotFoundError(f"no pairs file at {args.pairs}; give the path of an InsightFace .bin")
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port must be between 0 and 65535, got {args.port}")
