"""FaceBN against its controls: every mode, weight, batch size and order of faces asked for. Resumable: run it again.

    python tools/bench_facebn.py facebn.json --model runs/small_seed0 runs/small_seed1 --pairs lfw_split.bin --teacher TEACHER

Each row is measured once, written to the file, and never again for the same question. The table is made of all rows in the file:
mean over models and orders, their standard deviation where there are several, and in brackets the gain over the better control,
"frozen" or "centred" (embeddings centred, no BatchNorm touched), paired by model.
"""

import argparse
import itertools
import json
import statistics
import sys
from pathlib import Path

from aird_plugin.threads import bound_spinning

bound_spinning()

from aird_plugin.data.degrade import BICUBIC, DEGRADATIONS
from aird_plugin.evaluation.protocol import PROTOCOLS, Session
from aird_plugin.files import write_atomically
from aird_plugin.memory import keep_freed_memory
from aird_plugin.models.facebn import MODES
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.paths import expand_arguments
from aird_plugin.progress import progress

FROZEN = {"facebn": None, "keep": 0.9, "centre": False, "order": "file", "batch": 96}
CONTROLS = [FROZEN, FROZEN | {"centre": True}]
KEYS = ("model", "pairs", "px", "degradation", "protocol", *FROZEN)


def main() -> int:
    args = arguments()
    keep_freed_memory()
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    known = {tuple(row[key] for key in KEYS) for row in rows}
    missing = [question for question in questions(args) if tuple(question[key] for key in KEYS) not in known]
    sessions = {}
    for question in progress(missing, len(missing), "FaceBN", "rows"):
        rows.append(question | answer(args, sessions, question))
        write_atomically(args.out, json.dumps(rows, indent=1).encode())
    print(table(rows))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON file of rows; those in it are kept")
    parser.add_argument("--model", nargs="+", default=[], help="runs or .pt files; their rows are averaged")
    parser.add_argument("--pairs", nargs="+", default=[])
    parser.add_argument("--teacher", help="for the high side of lr-hr")
    parser.add_argument("--px", nargs="+", type=int, default=[16])
    parser.add_argument("--degradation", nargs="+", choices=list(DEGRADATIONS), default=[BICUBIC])
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--keep", nargs="+", type=float, default=[0.0, 0.1, 0.5, 0.9])
    parser.add_argument("--batch", nargs="+", type=int, default=[96])
    parser.add_argument("--both", action="store_true", help="ask each way of adapting once more, centred as well")
    parser.add_argument("--order", nargs="+", type=int, default=[0, 1, 2], help="seeds of the order of faces")
    return expand_arguments(parser.parse_args())


def questions(args) -> list[dict]:
    """Controls first, then every combination; the "full" mode is asked in one order and batch size, which hardly matter to it."""
    adapted = [
        FROZEN | {"facebn": mode, "keep": keep, "order": order, "batch": batch}
        for mode, keep, batch, order in itertools.product(args.mode, args.keep, args.batch, args.order)
        if mode != "full" or (batch, order) == (args.batch[0], args.order[0])
    ]
    both = [how | {"centre": True} for how in adapted] if args.both else []
    asked = itertools.product(CONTROLS + adapted + both, args.model, args.pairs, args.px, args.degradation, args.protocol)
    return [
        how | {"model": model, "pairs": pairs, "px": px, "degradation": degradation, "protocol": protocol}
        for how, model, pairs, px, degradation, protocol in asked
    ]


def answer(args, sessions: dict, question: dict) -> dict:
    """The row of one question; networks and decoded faces are kept for the next."""
    model, pairs = question["model"], question["pairs"]
    if (model, pairs) not in sessions:
        other = next((session for (_, faces), session in sessions.items() if faces == pairs), None)
        teacher = load_teacher(args.teacher) if args.teacher and other is None else None
        student = load_model(model)
        sessions[model, pairs] = other.with_student(student) if other else Session(student, pairs, teacher)
    session = sessions[model, pairs]
    session.batch = question["batch"]
    options = {key: question[key] for key in ("facebn", "keep", "centre", "order", "degradation")}
    side = {"high_side": "teacher"} if args.teacher and question["protocol"] == "lr-hr" else {}
    row = session.evaluate(question["px"], question["protocol"], **options, **side)
    return {key: row[key] for key in ("accuracy", "accuracy_std", "ci95", "high_side", "n_pairs")}


def table(rows: list[dict]) -> str:
    """Markdown: a line for each way of adapting, a column for each set of pairs, px, degradation and protocol."""
    columns = sorted({column(row) for row in rows})
    ways = sorted({way(row) for row in rows}, key=lambda name: (name not in ("frozen", "centred"), name))
    lines = ["| | " + " | ".join(" ".join(map(str, name)) for name in columns) + " |", "|---|" + "---|" * len(columns)]
    for name in ways:
        lines.append(f"| {name} | " + " | ".join(cell(rows, name, place) for place in columns) + " |")
    return "\n".join(lines)


def column(row: dict) -> tuple:
    return Path(row["pairs"]).stem, row["px"], row["degradation"], row["protocol"]


def way(row: dict) -> str:
    if row["facebn"] is None:
        return "centred" if row["centre"] else "frozen"
    batch = "" if row["facebn"] == "full" else f", batch {row['batch']}"
    return f"{row['facebn']}, keep {row['keep']:g}{batch}{', and centred' if row['centre'] else ''}"


def cell(rows: list[dict], name: str, place: tuple) -> str:
    """Mean, spread and gain of one way in one column."""
    here = [row for row in rows if column(row) == place]
    mine = [row for row in here if way(row) == name]
    if not mine:
        return ""
    accuracies = [row["accuracy"] for row in mine]
    spread = f" ± {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    controls = {}
    for row in here:
        if row["facebn"] is None:
            controls[row["model"]] = max(row["accuracy"], controls.get(row["model"], 0))
    gains = [row["accuracy"] - controls[row["model"]] for row in mine if row["facebn"] and row["model"] in controls]
    gain = f" ({statistics.mean(gains):+.2f})" if gains else ""
    return f"{statistics.mean(accuracies):.2f}{spread}{gain}"


if __name__ == "__main__":
    sys.exit(main())
