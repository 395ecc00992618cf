"""`aird identify`: a model and a data set -> rows, printed as a table and written as JSON. Heavy imports are inside."""

import argparse
from pathlib import Path

from aird_plugin.cli.evaluation_arguments import (
    DEFAULTS,
    base_spec,
    combinations,
    load_means,
    load_networks,
    with_skipped,
    write_rows,
)
from aird_plugin.cli.evaluation_flags import FLAGS, US_SPELLINGS
from aird_plugin.cli.input_arguments import INPUT_FLAGS
from aird_plugin.cli.tables import aligned, figure, interval, print_left_out, setting_cells
from aird_plugin.utils.warning import warn

SHARED = (
    "--degradation",
    "--high-side",
    "--teacher",
    "--teacher-join",
    *INPUT_FLAGS,
    "--facebn",
    "--keep",
    "--include-bn1d",
    "--order",
    "--training-centre",
    "--batch",
    "--network",
    "--json",
)
SETTINGS = ("px", "degradation", "protocol", "high_side", "facebn", "centre", "pooling")
COUNTS = ("n_probes", "n_mated", "n_unmated", "n_gallery", "n_distractors")
# Images that the student was trained without, and test images that are not evaluated; only where there are any.
LEFT_OUT = ("skipped_images", "unreadable_images")
LAYOUTS = {
    "folders": "gallery/IDENTITY/*.jpg, probe/IDENTITY/*.jpg, distractor/*.jpg",
    "tinyface": "TinyFace's Testing_Set",
    "survface": "QMUL-SurvFace's Face_Identification_Test_Set",
    "scface": "SCface, aligned crops under the publisher's names",
    "uccs": "one folder per identity; a linear probe on 180 identities",
    "bin": "the identities of an InsightFace verification file",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird identify`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a run folder, an exported folder, an .onnx file, or a bare .pt file")
    add("data", metavar="DATA", help="the folder or file of the data set")
    layouts = "; ".join(f"{name}: {files}" for name, files in LAYOUTS.items())
    add("--layout", required=True, choices=LAYOUTS, help=f"layout of DATA. {layouts}")
    add(
        "--px", metavar="N", nargs="+", type=int, help="downsample the probes to these sides, in pixels. default: no downsampling"
    )
    add(
        "--protocol",
        metavar="P",
        nargs="+",
        default=["lr-lr"],
        help="lr-lr: the gallery is downsampled like the probes. lr-hr: the gallery is used as it is. default: lr-lr",
    )
    add(
        "--distractors",
        metavar="DIR",
        nargs="?",
        const="",
        help="add the images below DIR to the gallery; of a .bin, without DIR, its identities with a single image. default: none",
    )
    add(
        "--merge",
        metavar="COSINE",
        type=float,
        help="for a .bin, whose pairs may split an identity into several: join identities whose HR images have a cosine above "
        "this by the teacher. default: join none",
    )
    add(
        "--pool",
        metavar="HOW",
        default="none",
        help="pool the gallery images of each identity and the probes of each track into one embedding: mean, or quality, "
        "weighted by the length of the embedding. default: none",
    )
    for flag in SHARED:
        add(flag, *US_SPELLINGS.get(flag, ()), **FLAGS[flag])


def run(args: argparse.Namespace) -> int:
    """Measure how well a model identifies probes in a gallery (1:N).

    Evaluates every combination of identification set, px and protocol; prints a table, writes JSON. Raises ValueError,
    FileNotFoundError or ImportError before any image is embedded if an evaluation is not possible.
    """
    from aird_plugin.evaluation.gallery_evaluator import check_downsampling
    from aird_plugin.evaluation.linear_probe import evaluate_linear_probe
    from aird_plugin.utils.devices import pick_device

    check(args)
    device = pick_device()
    specs = combinations([base_spec(args)], args.px or [None], args.degradation or DEFAULTS["degradation"], args.protocol)
    for spec in specs:
        check_downsampling(spec.px, spec.degradation)
    [student], teacher = load_networks(args, [args.model], specs, device)
    if args.layout == "uccs":
        rows, *walks = evaluate_linear_probe(student, args.data, specs, args.batch, device)
        rows = with_skipped(rows, {"student": args.model})
        print(draws_table(rows))
    else:
        rows, walks = gallery_rows(args, student, teacher, specs, device)
        rows = with_skipped(rows, {"student": args.model})
        print(table(rows))
    print_left_out(*walks)
    models, networks = {"student": args.model, "teacher": args.teacher}, {"student": student, "teacher": teacher}
    write_rows(args.json, rows, device, models, networks)
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise ValueError or FileNotFoundError for invalid arguments."""
    from aird_plugin.evaluation.gallery_evaluator import POOLING

    if args.pool not in POOLING:
        raise ValueError(f"--pool must be one of {', '.join(POOLING)}, got {args.pool!r}")
    if args.merge is not None and not (args.layout == "bin" and args.teacher):
        raise ValueError("--merge joins the identities of a .bin by its teacher: give --layout bin and --teacher FILE")
    galleries = args.distractors is not None or args.pool != "none" or args.protocol != ["lr-lr"]
    if args.layout == "uccs" and (galleries or args.training_centre):
        raise ValueError(
            "uccs has no gallery, only a linear probe: leave out --distractors, --pool, --protocol and --training-centre"
        )
    if args.layout == "uccs" and (args.teacher or args.teacher_input or args.high_side):
        raise ValueError(
            "uccs has a linear probe on the model alone, without a teacher: leave out --teacher, --teacher-input and --high-side"
        )
    if args.distractors == "" and args.layout != "bin":
        raise ValueError(f"--distractors without a folder is for --layout bin; for {args.layout} name the folder of their images")
    if not Path(args.data).exists():
        raise FileNotFoundError(f"no data set at {args.data}; `aird identify --help` lists the layouts")


def gallery_rows(args: argparse.Namespace, student, teacher, specs: list, device) -> tuple[list[dict], list]:
    """A row for each identification set and spec, and what was taken from each folder and left out."""
    from aird_plugin.evaluation.gallery_evaluator import NO_LENGTHS, GalleryEvaluator
    from aird_plugin.evaluation.identification_sets import read_bin, read_layout
    from aird_plugin.models.recorded import adapted_to, recorded_metadata
    from aird_plugin.utils.files import file_sha256

    if args.layout == "bin":
        warn(adapted_to(args.model, student, args.data, file_sha256(args.data)))
        identification_sets = read_bin(args.data, args.distractors, args.merge, teacher, args.batch, device)
    else:
        identification_sets = read_layout(args.layout, args.data, args.distractors)
    if args.pool == "quality" and recorded_metadata(args.model, student).get("training_centre"):
        raise ValueError(f"{args.model} subtracts its training mean in its graph: {NO_LENGTHS}")
    rows = []
    [means] = load_means([args.model], [student], teacher, specs)
    for identification_set in identification_sets:
        evaluator = GalleryEvaluator(student, identification_set, args.data, args.layout, teacher, args.batch, device, means)
        rows += [evaluator.evaluate(spec, pooling=args.pool) | {"merge": args.merge} for spec in specs]
        warn(evaluator.copies())
    return rows, [walk for identification_set in identification_sets for walk in identification_set.walks]


def table(rows: list[dict]) -> str:
    """Rows as aligned plain text; ranks and map in per cent, tpir in 0..1, - for what does not apply."""
    rates = list(rows[0]["tpir"])
    counts_shown = [*COUNTS, *(key for key in LEFT_OUT if any(key in row for row in rows))]
    lines = [["data", *SETTINGS, "rank1", "ci95", "rank5", "rank20", "map", *(f"tpir@{rate}" for rate in rates), *counts_shown]]
    for row in rows:
        name = "/".join(part for part in (Path(row["data"]).name, row["name"]) if part)
        ranks = [figure(row[key], 2) for key in ("rank5", "rank20", "map")]
        tpirs = [figure(row["tpir"][rate], 4) for rate in rates]
        counts = [str(row.get(key, 0)) for key in counts_shown]
        cells = setting_cells(row, SETTINGS)
        lines.append([name, *cells, figure(row["rank1"], 2), interval(row["ci95"]), *ranks, *tpirs, *counts])
    return aligned(lines)


def draws_table(rows: list[dict]) -> str:
    """The rows of a linear probe as aligned plain text; accuracy and its standard deviation over the draws in per cent."""
    keys = ("px", "degradation", "facebn")
    skipped = [key for key in LEFT_OUT if key in rows[0]]
    lines = [["data", *keys, "accuracy", "std", "draws", *skipped]]
    for row in rows:
        figures = [figure(row["accuracy"], 2), figure(row["accuracy_std"], 2), str(len(row["draws"]))]
        lines.append([Path(row["data"]).name, *setting_cells(row, keys), *figures, *(str(row[key]) for key in skipped)])
    return aligned(lines)
