"""`aird evaluate`: arguments -> rows, a table of them on the screen and a JSON file.

Heavy imports stand inside the functions, so that `aird --help` answers at once.
"""

import argparse
import itertools
import json
from pathlib import Path

SETTINGS = ("pairs", "px", "protocol", "high_side", "facebn", "keep", "order", "batch", "centre")
FLAGS = {
    "--protocol": dict(
        metavar="P", nargs="+",
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
    add = parser.add_argument
    add("model", metavar="MODEL", help="a run folder, an .onnx file, or a bare .pt file")
    add("--pairs", metavar="FILE", nargs="+", help="InsightFace verification files (.bin)")
    add("--px", metavar="N", nargs="+", type=int, help="sides of low faces; 112: untouched")
    add("--recipe", metavar="RECIPE", help="ask what this recipe asks at the end of training: its val_targets, px and protocols, "
        "and where it names a FaceBN mode also centred and with FaceBN; what stands beside it on the command line wins")
    for flag, options in FLAGS.items():
        add(flag, **options)


def run(args: argparse.Namespace) -> int:
    """Answer every combination of pairs file, px and protocol; print the table, write the JSON file.

    Raises ValueError or FileNotFoundError before any face is embedded where a question has no answer.
    """
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.files import write_atomically

    device, rows = _device(), []
    args = _with_recipe(args)
    settings = _settings(args)
    student, teacher = _prepare(args, settings, device)
    for pairs_file in args.pairs:
        session = Session(student, pairs_file, teacher, args.batch, device)
        for px, protocol, setting in itertools.product(args.px, args.protocol, settings):
            rows.append(session.evaluate(px, protocol, args.high_side, **setting))
    print(table(rows))
    if args.json:
        write_atomically(Path(args.json), json.dumps(rows, indent=1).encode())
    return 0


def table(rows: list[dict]) -> str:
    """Rows as aligned plain text; accuracies in per cent, auc and tar in 0..1, - for what does not apply."""
    tars = [f"tar@{far}" for far in rows[0]["tar"]]
    lines = [[*SETTINGS, "accuracy", "std", "ci95", "best", "auc", *tars, "n"], *map(_cells, rows)]
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


def _with_recipe(args):
    """The arguments, with what the recipe asks where the command line does not. ValueError where neither says what to ask."""
    asked = {"protocol": ["lr-lr"], "recipe": None}
    if args.recipe:
        from aird_plugin.recipe import load

        recipe = load(args.recipe)
        asked = {"pairs": recipe.run.val_targets, "px": [recipe.data.px], "protocol": recipe.run.val_protocols, "recipe": recipe}
    given = {key: value for key, value in vars(args).items() if value is not None and key != "recipe"}
    args = argparse.Namespace(**vars(args) | asked | given)
    if not args.pairs or not args.px:
        raise ValueError("name the pairs (--pairs FILE.bin) and their sizes (--px 16), or a --recipe with val_targets")
    return args


def _settings(args) -> list[dict]:
    """What of FaceBN and centring each row has: the command line's, or else the recipe's, with the control to its FaceBN."""
    if args.keep is not None and args.facebn is None:
        raise ValueError("--keep weighs FaceBN's statistics: name a mode with --facebn, or leave it out")
    order, plain = _order(args.order), {"facebn": None, "centre": False, "keep": 0.9}
    run = args.recipe.run if args.recipe else None
    if args.facebn or args.centre or not (run and run.facebn):
        keep = 0.9 if args.keep is None else args.keep
        return [{"facebn": args.facebn, "keep": keep, "order": order, "centre": args.centre}]
    adapted = {"facebn": run.facebn, "keep": run.keep, "order": run.seed if order == "file" else order}
    return [plain | {"order": order}, plain | {"order": order, "centre": True}, plain | adapted]


def _prepare(args, settings, device):
    """Student and teacher, able to answer every question."""
    from aird_plugin.data.lowres import check_px
    from aird_plugin.evaluation.load import load_model
    from aird_plugin.evaluation.protocol import check_question
    from aird_plugin.models.teacher import load_teacher

    if args.batch < 1:
        raise ValueError(f"--batch must be 1 or more, got {args.batch}")
    for file in args.pairs:
        if not Path(file).is_file():
            raise FileNotFoundError(f"no pairs file at {file}; give the path of an InsightFace .bin")
    student = load_model(args.model, args.network, device)
    teacher = load_teacher(args.teacher, device=device) if args.teacher else None
    for px, protocol, setting in itertools.product(args.px, args.protocol, settings):
        check_px(px)
        check_question(student, teacher, protocol, args.high_side, setting["facebn"], setting["keep"])
    return student, teacher


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _order(text: str) -> str | int:
    if text == "file":
        return text
    if text.isdecimal():
        return int(text)
    raise ValueError(f"--order must be 'file' or a seed (a whole number of 0 or more), got {text!r}")
