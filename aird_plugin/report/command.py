"""`aird report`: runs, and pairs of faces to ask them -> one HTML file. Heavy imports stand inside the functions."""

import argparse
import shlex
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird report`."""
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help="run folders, finished or not; runs that differ by seed alone are one method")
    add("--out", metavar="FILE", required=True, help="the .html file to write")
    add("--pairs", metavar="FILE", nargs="+", default=[], help="verification files (.bin) to ask the students. default: what the "
        "runs measured themselves (evaluation.json), and their curves")  # fmt: skip
    add("--px", metavar="N", nargs="+", type=int, default=[], help="sides of low faces; the first one is what the pictures are "
        "about. default: those the runs were trained at")  # fmt: skip
    add("--teacher", metavar="FILE", help="the teacher, .onnx or .pt: a row of its own, and the high side of LR-HR")
    add("--high-side", metavar="WHO", help="who embeds the high faces of LR-HR: student or teacher. default: as `aird evaluate`")
    add("--degradation", metavar="NAME", default="bicubic", help="how faces become low, as in `aird evaluate`. default: bicubic")
    add("--no-faces", action="store_true", help="leave the pictures of the hardest pairs out, so that the file shows nobody")


def run(args: argparse.Namespace) -> int:
    """Gather, draw, write. Raises ValueError or OSError, and then writes nothing."""
    import torch

    from aird_plugin.evaluation.protocol import HIGH_SIDES
    from aird_plugin.files import write_atomically
    from aird_plugin.report.gather import Questions, gather
    from aird_plugin.report.page import page

    out = Path(args.out)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; name the file to write, for example {out / 'report.html'}")
    if not args.pairs and (args.px or args.teacher or args.high_side):
        raise ValueError("--px, --teacher and --high-side ask something of pairs: name their files with --pairs")
    if args.high_side not in (None, *HIGH_SIDES):
        raise ValueError(f"--high-side is one of {', '.join(HIGH_SIDES)}; got {args.high_side!r}")
    for file in args.pairs:
        if not Path(file).is_file():
            raise FileNotFoundError(f"no pairs file at {file}; give the path of an InsightFace .bin")
    pairs, px = (tuple(dict.fromkeys(values)) for values in (args.pairs, args.px))
    questions = Questions(pairs, px, args.teacher, args.high_side, args.degradation, not args.no_faces)
    material = gather(args.runs, questions, command_line(args), "cuda" if torch.cuda.is_available() else "cpu")
    write_atomically(out, page(material).encode(errors="replace"))
    print(f"{out}: {out.stat().st_size / 1024:.0f} kB")
    return 0


def command_line(args: argparse.Namespace) -> str:
    """The command that makes the report again."""
    words = ["aird", "report", *args.runs, "--out", args.out]
    for flag, values in (("--pairs", args.pairs), ("--px", map(str, args.px))):
        values = list(values)
        words += [flag, *values] if values else []
    for flag, value in (("--teacher", args.teacher), ("--high-side", args.high_side)):
        words += [flag, value] if value else []
    words += ["--degradation", args.degradation] if args.degradation != "bicubic" else []
    return shlex.join(words + ["--no-faces"] * args.no_faces)
