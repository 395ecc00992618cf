"""`aird evaluate`: a model and files of pairs -> rows, printed as a table and written as JSON. Heavy imports are inside."""

import argparse

from aird_plugin.cli.evaluation_arguments import (
    add_pair_arguments,
    load_means,
    load_networks,
    pair_specs,
    with_skipped,
    write_rows,
)
from aird_plugin.cli.tables import aligned, figure, interval, pair_names, setting_cells
from aird_plugin.utils.warning import warn

SETTINGS = ("pairs", "px", "degradation", "protocol", "high_side", "facebn", "keep", "order", "batch", "centre")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird evaluate`."""
    parser.add_argument("model", metavar="MODEL", help="a run folder, an exported folder, an .onnx file, or a bare .pt file")
    add_pair_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate a model on every combination of pairs file, px, degradation and protocol; print a table, write JSON.

    Raises ValueError or FileNotFoundError before any image is embedded if an evaluation is not possible.
    """
    from aird_plugin.evaluation.pair_evaluator import PairEvaluator
    from aird_plugin.models.recorded import adapted_to
    from aird_plugin.utils.devices import pick_device

    files, specs = pair_specs(args)
    device, rows = pick_device(), []
    [student], teacher = load_networks(args, [args.model], specs, device)
    [means] = load_means([args.model], [student], teacher, specs)
    for pairs_file in files:
        evaluator = PairEvaluator(student, pairs_file, teacher, args.batch, device, means=means)
        warn(evaluator.upsampled(specs))
        warn(adapted_to(args.model, student, evaluator.pairs_file, evaluator.pairs_sha256))
        rows += [evaluator.evaluate(spec) for spec in specs]
        warn(evaluator.copies())
    rows = with_skipped(rows, {"student": args.model})
    print(table(rows))
    models, networks = {"student": args.model, "teacher": args.teacher}, {"student": student, "teacher": teacher}
    write_rows(args.json, rows, device, models, networks)
    return 0


def table(rows: list[dict]) -> str:
    """Rows as aligned plain text; accuracies in per cent, auc and tar in 0..1, - for what does not apply."""
    tars = [f"tar@{far}" for far in rows[0]["tar"]]
    skipped, names = ["skipped_images"] if "skipped_images" in rows[0] else [], pair_names(rows)
    head = [*SETTINGS, "accuracy", "std", "ci95", "best", "auc", *tars, "n", "impostors", *skipped]
    lines = [[*_cells(row | {"pairs": names[row["pairs"]]}), *(str(row[key]) for key in skipped)] for row in rows]
    return aligned([head, *lines])


def _cells(row: dict) -> list[str]:
    """A row of the printed table."""
    return [
        *setting_cells(row, SETTINGS),
        figure(row["accuracy"], 2),
        figure(row["accuracy_std"], 2),
        interval(row["ci95"]),
        figure(row["accuracy_best"], 2),
        figure(row["auc"], 4),
        *(figure(tar, 4) for tar in row["tar"].values()),
        str(row["n_pairs"]),
        str(row["n_impostor"]),
    ]
