"""`aird evaluate`: arguments -> rows, a table of them on the screen and a JSON file.

Heavy imports stand inside the functions, so that `aird --help` answers at once.
"""

import argparse
import itertools
import json
from pathlib import Path

SETTINGS = ("pairs", "px", "degradation", "protocol", "high_side", "facebn", "keep", "order", "batch", "centre")
FLAGS = {
    "--degradation": dict(
        metavar="NAME", nargs="+", default=["bicubic"],
        help="how faces become low and reach the network: bicubic; insightface-warp, as FaceAnalysis brings a small face; "
        "blur, noise, jpeg: cameras unlike those it was trained for. default: bicubic",
    ),
    "--protocol": dict(
        metavar="P", nargs="+", default=["lr-lr"],
        help="lr-lr: both faces of a pair low. lr-hr: the first one low, the second one high. default: lr-lr",
    ),
    "--high-side": dict(
        metavar="WHO",
        help="who embeds the high faces of lr-hr: student or teacher. "
        "default: the student where it takes 112 px faces, else the teacher",
    ),
    "--teacher": dict(metavar="FILE", help="the teacher, .onnx or .pt, for the high side"),
    "--facebn": dict(
        metavar="MODE",
        help="adapt the student's BatchNorm to the faces tested. stateless: each batch by itself; stream: "
        "each goes on from the one before; full: one pass over all faces, then frozen. default: do not adapt",
    ),
    "--keep": dict(
        metavar="F", type=float,
        help="FaceBN: weight of the old statistics, 0 to 1. default: 0.9; the paper prints 0.1",
    ),
    "--order": dict(metavar="O", default="file", help="how faces enter batches: file, or a seed to shuffle"),
    "--centre": dict(action="store_true", help="subtract each side's mean embedding: the control to FaceBN"),
    "--batch": dict(metavar="N", type=int, default=96, help="faces in a batch; for FaceBN. default: 96"),
    "--network": dict(metavar="NAME", help="architecture of a bare .pt file, for example native16_1m"),
    "--json": dict(metavar="FILE", help="write the rows here, all figures in full"),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird evaluate`."""
    parser.add_argument("model", metavar="MODEL", help="a run folder, an .onnx file, or a bare .pt file")
    add_question_arguments(parser)


def add_question_arguments(parser: argparse.ArgumentParser) -> None:
    """What is asked of a model, or of several."""
    add = parser.add_argument
    add("--pairs", metavar="FILE", nargs="+", required=True, help="InsightFace verification files (.bin)")
    add("--px", metavar="N", nargs="+", type=int, required=True, help="sides of low faces; 112: untouched")
    for flag, options in FLAGS.items():
        add(flag, **options)


def run(args: argparse.Namespace) -> int:
    """Answer every combination of pairs file, px and protocol; print the table, write the JSON file.

    Raises ValueError or FileNotFoundError before any face is embedded where a question has no answer.
    """
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.files import write_atomically

    require_pairs(args.pairs)
    device, rows = pick_device(), []
    [student], teacher, options = load_networks(args, [args.model], args.px, device)
    for pairs_file in args.pairs:
        session = Session(student, pairs_file, teacher, args.batch, device)
        for px, degradation, protocol in itertools.product(args.px, args.degradation, args.protocol):
            rows.append(session.evaluate(px, protocol, centre=args.centre, degradation=degradation, **options))
    print(table(rows))
    if args.json:
        write_atomically(Path(args.json), json.dumps(rows, indent=1).encode())
    return 0


def table(rows: list[dict]) -> str:
    """Rows as aligned plain text; accuracies in per cent, auc and tar in 0..1, - for what does not apply."""
    tars = [f"tar@{far}" for far in rows[0]["tar"]]
    return aligned([[*SETTINGS, "accuracy", "std", "ci95", "best", "auc", *tars, "n"], *map(_cells, rows)])


def aligned(lines: list[list[str]]) -> str:
    """Lines of cells as plain text, columns flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def _cells(row: dict) -> list[str]:
    def figure(value, digits):
        return "-" if value is None else f"{value:.{digits}f}"

    setting = row | {"pairs": Path(row["pairs"]).name, "centre": "yes" if row["centre"] else "no"}
    return [
        *("-" if setting[key] is None else str(setting[key]) for key in SETTINGS),
        figure(row["accuracy"], 2),
        figure(row["accuracy_std"], 2),
        "{:.2f}..{:.2f}".format(*row["ci95"]),
        figure(row["accuracy_best"], 2),
        figure(row["auc"], 4),
        *(figure(tar, 4) for tar in row["tar"].values()),
        str(row["n_pairs"]),
    ]


def require_pairs(files: list[str]) -> None:
    """Raises FileNotFoundError naming the first file that is not there."""
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(f"no pairs file at {file}; give the path of an InsightFace .bin")


def load_networks(args: argparse.Namespace, models: list[str], sides: list[int], device: str):
    """The networks of `models`, the teacher and the options they share, all checked: every px of `sides`, every protocol.

    Raises ValueError or FileNotFoundError where networks, files and options do not fit together.
    """
    from aird_plugin.data.degrade import named
    from aird_plugin.data.lowres import check_px
    from aird_plugin.evaluation.load import load_model
    from aird_plugin.evaluation.protocol import check_question
    from aird_plugin.models.teacher import load_teacher

    if args.keep is not None and args.facebn is None:
        raise ValueError("--keep weighs FaceBN's statistics: name a mode with --facebn, or leave it out")
    if args.batch < 1:
        raise ValueError(f"--batch must be 1 or more, got {args.batch}")
    for px in sides:
        check_px(px)
    for degradation in args.degradation:
        named(degradation)
    order = _order(args.order)
    students = [load_model(model, args.network, device) for model in models]
    teacher = load_teacher(args.teacher, device=device) if args.teacher else None
    keep = 0.9 if args.keep is None else args.keep
    options = {"high_side": args.high_side, "facebn": args.facebn, "keep": keep}
    for student, protocol in itertools.product(students, args.protocol):
        check_question(student, teacher, protocol, **options)
    return students, teacher, options | {"order": order}


def pick_device() -> str:
    """cuda where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _order(text: str) -> str | int:
    if text == "file":
        return text
    if text.isdecimal():
        return int(text)
    raise ValueError(f"--order must be 'file' or a seed (a whole number of 0 or more), got {text!r}")
