"""`aird compare`: models -> whether their difference on the same pairs is significant. Heavy imports are inside."""

import argparse
import itertools
from functools import partial
from pathlib import Path

from aird_plugin.cli.evaluation_arguments import (
    add_pair_arguments,
    load_means,
    load_networks,
    pair_specs,
    with_skipped,
    write_rows,
)
from aird_plugin.cli.tables import aligned, figure, pair_names
from aird_plugin.utils.warning import warn

SETTINGS = ("pairs", "px", "degradation", "protocol", "facebn", "keep", "include_bn1d", "order", "centre")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird compare`."""
    parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help="run folders, exported folders, .onnx or bare .pt files; every two are compared",
    )
    add_pair_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Test for every two of several models whether their accuracies on the same pairs differ significantly.

    Prints accuracies and a sentence for every two, writes JSON. Raises ValueError or FileNotFoundError before any image is
    embedded if an evaluation is not possible.
    """
    from aird_plugin.evaluation.comparison import add_conclusions, compare_models, short_names
    from aird_plugin.evaluation.pair_evaluator import PairEvaluator
    from aird_plugin.models.recorded import adapted_to
    from aird_plugin.utils.devices import pick_device

    if len(args.models) < 2:
        raise ValueError(f"a comparison needs two models or more, got {args.models[0]} alone")
    files, specs = pair_specs(args)
    # A file or setting given twice would count as two tests.
    files, specs = list({Path(file).resolve(): file for file in files}.values()), list(dict.fromkeys(specs))
    device, rows, names = pick_device(), [], short_names(args.models, taken="teacher")
    students, teacher = load_networks(args, args.models, specs, device)
    means = dict(zip(names, load_means(args.models, students, teacher, specs), strict=True))
    for pairs_file in files:
        evaluator = PairEvaluator(None, pairs_file, teacher, args.batch, device)
        warn(evaluator.upsampled(specs))
        for model, student in zip(args.models, students, strict=True):
            warn(adapted_to(model, student, evaluator.pairs_file, evaluator.pairs_sha256))
        # By the images first, then by the embeddings of each model: one warning a file.
        copies = [evaluator.copies()]
        networks = dict(zip(names, students, strict=True))
        rows += compare_models(evaluator, networks, specs, means, partial(_add_copies, copies))
        warn(next(filter(None, copies), ""))
    add_conclusions(rows)
    rows = with_skipped(rows, dict(zip(names, args.models, strict=True)))
    print(report(rows))
    models = {"teacher": args.teacher} | dict(zip(names, args.models, strict=True))
    write_rows(args.json, rows, device, models, {"teacher": teacher} | dict(zip(names, students, strict=True)))
    return 0


def _add_copies(texts: list[str], evaluator) -> None:
    texts.append(evaluator.copies())


def report(rows: list[dict]) -> str:
    """The accuracies of the models (per cent of pairs) and the conclusions, a block for each evaluation."""
    names = pair_names(rows)
    rows = [row | {"pairs": names[row["pairs"]]} for row in rows]
    groups = itertools.groupby(rows, lambda row: [row[key] for key in SETTINGS])
    return "\n\n".join(_block(list(group)) for _, group in groups)


def _block(rows: list[dict]) -> str:
    """The heading, table and sentences of one setting."""
    first = rows[0]
    setting = ", ".join(f"{key} {first[key]}" for key in SETTINGS if first[key] not in (None, False, "file"))
    cells = {}
    for row, side in itertools.product(rows, "ab"):
        name = row[side]
        cells[name] = [name, row[f"high_side_{side}"] or "-", figure(row[f"accuracy_{side}"], 2)]
    table = aligned([["model", "high side", "accuracy"], *cells.values()])
    head = f"{setting}: {first['n_pairs']} pairs of {first['n_people']} identities"
    skipped = [f"{name} was trained without {count} unreadable images" for name, count in first.get("skipped_images", {}).items()]
    return "\n".join([head, table, *(row["sentence"] for row in rows), *skipped])
