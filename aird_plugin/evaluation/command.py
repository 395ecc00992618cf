"""`aird evaluate`: arguments -> rows, a table of them on the screen and a JSON file.

Heavy imports stand inside the functions, so that `aird --help` answers at once.
"""

import argparse
import json
from pathlib import Path

from aird_plugin.evaluation.asking import add_question_arguments, load_networks, pick_device, questions_of_pairs

SETTINGS = ("pairs", "px", "degradation", "protocol", "high_side", "facebn", "keep", "order", "batch", "centre")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird evaluate`."""
    parser.add_argument("model", metavar="MODEL", help="a run folder, an .onnx file, or a bare .pt file")
    add_question_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Answer every combination of pairs file, px, degradation and protocol; print the table, write the JSON file.

    Raises ValueError or FileNotFoundError before any face is embedded where a question has no answer.
    """
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.files import write_atomically
    from aird_plugin.provenance import stamped

    files, questions = questions_of_pairs(args)
    device, rows = pick_device(), []
    [student], teacher = load_networks(args, [args.model], questions, device)
    for pairs_file in files:
        session = Session(student, pairs_file, teacher, args.batch, device)
        rows += [session.evaluate(**question) for question in questions]
    print(table(rows))
    if args.json:
        rows = stamped(rows, device, {"student": args.model, "teacher": args.teacher})
        write_atomically(Path(args.json), json.dumps(rows, indent=1).encode())
    return 0


def table(rows: list[dict]) -> str:
    """Rows as aligned plain text; accuracies in per cent, auc and tar in 0..1, - for what does not apply."""
    tars = [f"tar@{far}" for far in rows[0]["tar"]]
    return aligned([[*SETTINGS, "accuracy", "std", "ci95", "best", "auc", *tars, "n", "impostors"], *map(_cells, rows)])


def aligned(lines: list[list[str]]) -> str:
    """Lines of cells as plain text, columns flush right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def figure(value: float | None, digits: int) -> str:
    """A number for a table, - for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _cells(row: dict) -> list[str]:
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
        str(row["n_impostor"]),
    ]
