"""FaceBN against its controls: every mode, `keep`, batch size and image order requested. Resumable: run it again.

    python tools/bench_facebn.py facebn.json --model runs/small_seed0 runs/small_seed1 --pairs lfw_split.bin --teacher TEACHER

Each row is measured once and written to the file; again, in its place, where model, pairs or teacher have other bytes than then.
The table is made of all rows in the file: mean over models and orders, their standard deviation if there are several, and in
brackets the gain over the better control, "frozen" or "centered" (embeddings centered, BatchNorm unchanged), paired by model.
"""

import argparse
import itertools
import json
import statistics
import sys
from pathlib import Path

from aird_plugin.utils.threads import bound_spinning

bound_spinning()

from aird_plugin.data.degradation import BICUBIC, DEGRADATIONS
from aird_plugin.evaluation.comparison import short_names
from aird_plugin.evaluation.eval_spec import PROTOCOLS
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.models.facebn import MODES
from aird_plugin.models.find import find_model
from aird_plugin.models.load import load_model, load_teacher
from aird_plugin.utils.files import file_sha256, write_atomically
from aird_plugin.utils.memory import keep_freed_memory
from aird_plugin.utils.paths import expand_arguments
from aird_plugin.utils.progress import progress

FROZEN = {"facebn": None, "keep": 0.9, "centre": False, "order": "file", "batch": 96}
CONTROLS = [FROZEN, FROZEN | {"centre": True}]
KEYS = ("model", "pairs", "px", "degradation", "protocol", *FROZEN)
# Of the bytes that a row depends on; the teacher's in lr-hr alone. A row of an older version has none of them.
HASHES = ("model_sha256", "pairs_sha256", "teacher_sha256")


def main() -> int:
    args = arguments()
    keep_freed_memory()
    wanted = {place(spec): spec for spec in specs(args)}
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    rows = [row for row in rows if place(row) not in wanted or is_of(wanted[place(row)], row)]
    known = {place(row) for row in rows}
    missing = [spec for where, spec in wanted.items() if where not in known]
    evaluators = {}
    for spec in progress(missing, len(missing), "FaceBN", "rows"):
        rows.append(spec | evaluate_one(args, evaluators, spec))
        write_atomically(args.out, json.dumps(rows, indent=1).encode())
    print(table(rows))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON file of rows; existing rows are kept")
    parser.add_argument("--model", nargs="+", default=[], help="models, usually seeds of one recipe; their rows are averaged")
    parser.add_argument("--pairs", nargs="+", default=[])
    parser.add_argument("--teacher", help="embeds the HR images of lr-hr")
    parser.add_argument("--px", nargs="+", type=int, default=[16])
    parser.add_argument("--degradation", nargs="+", choices=list(DEGRADATIONS), default=[BICUBIC])
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--keep", nargs="+", type=float, default=[0.0, 0.1, 0.5, 0.9])
    parser.add_argument("--batch", nargs="+", type=int, default=[96])
    parser.add_argument("--both", action="store_true", help="measure each FaceBN setting a second time with centered embeddings")
    parser.add_argument("--order", nargs="+", type=int, default=[0, 1, 2], help="seeds of the image order")
    return expand_arguments(parser.parse_args())


def place(row: dict) -> tuple:
    """What the file holds once."""
    return tuple(row[key] for key in KEYS)


def is_of(spec: dict, row: dict) -> bool:
    """Whether a row was measured on the same bytes."""
    return all(row.get(key, spec[key]) == spec[key] for key in HASHES)


def specs(args) -> list[dict]:
    """Controls first, then every combination; mode "full" (nearly independent of order and batch) for the first of each."""
    adapted = [
        FROZEN | {"facebn": mode, "keep": keep, "order": order, "batch": batch}
        for mode, keep, batch, order in itertools.product(args.mode, args.keep, args.batch, args.order)
        if mode != "full" or (batch, order) == (args.batch[0], args.order[0])
    ]
    both = [setting | {"centre": True} for setting in adapted] if args.both else []
    combinations = itertools.product(CONTROLS + adapted + both, args.model, args.pairs, args.px, args.degradation, args.protocol)
    of_model = {model: file_sha256(find_model(model).file) for model in args.model}
    of_pairs = {pairs: file_sha256(pairs) for pairs in args.pairs}
    of_teacher = {"lr-hr": file_sha256(find_model(args.teacher).file) if args.teacher else None}
    return [
        setting
        | {"model": model, "pairs": pairs, "px": px, "degradation": degradation, "protocol": protocol}
        | dict(zip(HASHES, (of_model[model], of_pairs[pairs], of_teacher.get(protocol)), strict=True))
        for setting, model, pairs, px, degradation, protocol in combinations
    ]


def evaluate_one(args, evaluators: dict, spec: dict) -> dict:
    """The row of one spec; `evaluators` caches networks and decoded images for the next."""
    model, pairs = spec["model"], spec["pairs"]
    if (model, pairs) not in evaluators:
        other = next((evaluator for (_, file), evaluator in evaluators.items() if file == pairs), None)
        teacher = load_teacher(args.teacher) if args.teacher and other is None else None
        student = load_model(model)
        evaluators[model, pairs] = other.with_student(student) if other else PairEvaluator(student, pairs, teacher)
    evaluator = evaluators[model, pairs]
    evaluator.batch = spec["batch"]
    options = {key: spec[key] for key in ("facebn", "keep", "centre", "order", "degradation")}
    side = {"high_side": "teacher"} if args.teacher and spec["protocol"] == "lr-hr" else {}
    row = evaluator.evaluate(spec["px"], spec["protocol"], **options, **side)
    return {key: row[key] for key in ("accuracy", "accuracy_std", "ci95", "high_side", "n_pairs")}


def table(rows: list[dict]) -> str:
    """Markdown: a row for each setting, a column for each pairs file, px, degradation and protocol."""
    paths = list(dict.fromkeys(row["pairs"] for row in rows))
    names = dict(zip(paths, short_names([str(Path(path).with_suffix("")) for path in paths]), strict=True))
    rows = [row | {"pairs": names[row["pairs"]]} for row in rows]
    columns = sorted({column(row) for row in rows})
    settings = sorted({setting_of(row) for row in rows}, key=lambda name: (name not in ("frozen", "centered"), name))
    lines = ["| | " + " | ".join(" ".join(map(str, name)) for name in columns) + " |", "|---|" + "---|" * len(columns)]
    for name in settings:
        lines.append(f"| {name} | " + " | ".join(cell(rows, name, where) for where in columns) + " |")
    return "\n".join(lines)


def column(row: dict) -> tuple:
    return row["pairs"], row["px"], row["degradation"], row["protocol"]


def setting_of(row: dict) -> str:
    if row["facebn"] is None:
        return "centered" if row["centre"] else "frozen"
    batch = "" if row["facebn"] == "full" else f", batch {row['batch']}"
    return f"{row['facebn']}, keep {row['keep']:g}{batch}{', and centered' if row['centre'] else ''}"


def cell(rows: list[dict], name: str, where: tuple) -> str:
    """Mean, standard deviation and gain of one setting in one column."""
    here = [row for row in rows if column(row) == where]
    mine = [row for row in here if setting_of(row) == name]
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
