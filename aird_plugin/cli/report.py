"""`aird report`: runs, optionally evaluated on pairs -> one HTML file. Heavy imports are inside the functions."""

import argparse
import shlex
from pathlib import Path

from aird_plugin.cli.evaluation_flags import FLAGS
from aird_plugin.cli.input_arguments import INPUT_FLAGS, parse_input


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird report`."""
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help="run folders, finished or not; runs that differ only in the seed form one method")
    add("--out", metavar="FILE", required=True, help="the .html file to write")
    add(
        "--pairs",
        metavar="FILE",
        nargs="+",
        default=[],
        help="evaluate the students on these verification files (.bin). default: use the evaluation.json of each run",
    )
    add(
        "--px",
        metavar="N",
        nargs="+",
        type=int,
        default=[],
        help="sides of the LR images in pixels; the detailed sections use the first. default: the px of the runs' training",
    )
    add(
        "--teacher",
        metavar="FILE",
        help="also evaluate the teacher, .onnx or .pt; it can embed the HR side of LR-HR. default: none",
    )
    add("--teacher-input", **INPUT_FLAGS["--teacher-input"])
    add("--high-side", metavar="MODEL", help="model for the HR images of LR-HR: student or teacher. default: as `aird evaluate`")
    add(
        "--degradation",
        metavar="NAME",
        default="bicubic",
        help="how HR images become LR, a name of `aird evaluate --degradation`. default: bicubic",
    )
    add("--include-bn1d", **FLAGS["--include-bn1d"])
    add("--no-faces", action="store_true", help="omit the images of the hardest pairs, so that the file shows no faces")


def run(args: argparse.Namespace) -> int:
    """Write the curves, accuracies and errors of training runs into one HTML page.

    Raises ValueError or OSError before anything is written.
    """
    from aird_plugin.evaluation.pair_files import check_pairs_files
    from aird_plugin.evaluation.sides import HIGH_SIDES
    from aird_plugin.report.collect import gather
    from aird_plugin.report.data import ReportOptions
    from aird_plugin.report.page import page
    from aird_plugin.utils.devices import pick_device
    from aird_plugin.utils.files import check_writable, write_atomically

    out = Path(args.out)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; give the file to write, for example {out / 'report.html'}")
    check_writable(out)
    evaluated = args.px, args.teacher, args.high_side, args.include_bn1d, args.degradation != "bicubic"
    if not args.pairs and any(evaluated):
        flags = "--px, --teacher, --high-side, --degradation and --include-bn1d"
        raise ValueError(f"{flags} need verification files; give them with --pairs")
    if args.high_side not in (None, *HIGH_SIDES):
        raise ValueError(f"--high-side must be one of {', '.join(HIGH_SIDES)}, got {args.high_side!r}")
    check_pairs_files(args.pairs)
    options = ReportOptions(
        pairs=tuple(dict.fromkeys(args.pairs)),
        px=tuple(dict.fromkeys(args.px)),
        teacher=args.teacher,
        high_side=args.high_side,
        degradation=args.degradation,
        faces=not args.no_faces,
        teacher_input=parse_input("--teacher-input", args.teacher_input, args.teacher),
        include_bn1d=args.include_bn1d,
    )
    data = gather(args.runs, options, command_line(args), pick_device())
    write_atomically(out, page(data).encode(errors="replace"))
    print(f"{out}: {out.stat().st_size / 1024:.0f} kB")
    return 0


def command_line(args: argparse.Namespace) -> str:
    """The command that reproduces the report."""
    arguments = ["aird", "report", *args.runs, "--out", args.out]
    for flag, values in (("--pairs", args.pairs), ("--px", args.px)):
        arguments += [flag, *map(str, values)] if values else []
    for flag, value in (("--teacher", args.teacher), ("--teacher-input", args.teacher_input), ("--high-side", args.high_side)):
        arguments += [flag, value] if value else []
    arguments += ["--degradation", args.degradation] if args.degradation != "bicubic" else []
    return shlex.join(arguments + ["--include-bn1d"] * args.include_bn1d + ["--no-faces"] * args.no_faces)
