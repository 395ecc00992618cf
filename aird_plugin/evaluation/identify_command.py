"""`aird identify`: a data set -> rows, a table of them on the screen and a JSON file. Heavy imports stand inside."""

import argparse
import json
from pathlib import Path

from aird_plugin.evaluation.asking import DEFAULTS, FLAGS, adaptation, combined, load_networks, pick_device
from aird_plugin.evaluation.command import aligned, figure

SHARED = ("--degradation", "--high-side", "--teacher", "--facebn", "--keep", "--order", "--batch", "--network", "--json")
SETTINGS = ("px", "degradation", "protocol", "high_side", "facebn", "pooling")
COUNTS = ("n_probes", "n_mated", "n_unmated", "n_gallery", "n_distractors")
DRAWS = 5
LAYOUTS = {
    "folders": "gallery/PERSON/*.jpg, probe/PERSON/*.jpg, distractor/*.jpg",
    "tinyface": "TinyFace's Testing_Set",
    "survface": "QMUL-SurvFace's Face_Identification_Test_Set",
    "scface": "SCface, aligned crops under their publisher's names",
    "uccs": "a folder a person; the last layer is refitted on 180 of them",
    "bin": "the people of an InsightFace verification file",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `aird identify`."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a run folder, an .onnx file, or a bare .pt file")
    add("data", metavar="DATA", help="the folder or file of the data set")
    told = "; ".join(f"{name}: {what}" for name, what in LAYOUTS.items())
    add("--layout", required=True, choices=LAYOUTS, help=f"how DATA lies. {told}")
    add("--px", metavar="N", nargs="+", type=int, help="sides that probes are shrunk to. default: taken as they are")
    add(
        "--protocol", metavar="P", nargs="+", default=["lr-lr"],
        help="lr-lr: the gallery is treated like the probes. lr-hr: the gallery is taken as it is. default: lr-lr",
    )  # fmt: skip
    add(
        "--distractors", metavar="DIR", nargs="?", const="",
        help="also put the pictures below DIR into the gallery; for a .bin, without DIR, its people of one face",
    )  # fmt: skip
    add(
        "--merge", metavar="COSINE", type=float,
        help="for a .bin, whose pairs may leave one person in several parts: join people whose faces, as they are, the teacher "
        "scores above this",
    )  # fmt: skip
    add(
        "--pool", metavar="HOW", default="none",
        help="one embedding of each person's gallery pictures and of each track's probes: mean, or quality, weighted by the "
        "embedding's length. default: none",
    )  # fmt: skip
    for flag in SHARED:
        add(flag, **FLAGS[flag])


def run(args: argparse.Namespace) -> int:
    """Find people in a gallery.

    Answers every combination of search, px and protocol; prints the table, writes the JSON file. Raises ValueError,
    FileNotFoundError or ImportError before any face is embedded where a question has no answer.
    """
    from aird_plugin.evaluation.searching import POOLING, check_low
    from aird_plugin.files import write_atomically
    from aird_plugin.provenance import stamped

    if args.pool not in POOLING:
        raise ValueError(f"--pool must be one of {', '.join(POOLING)}, got {args.pool!r}")
    if args.merge is not None and not (args.layout == "bin" and args.teacher):
        raise ValueError("--merge joins the people of a .bin by its teacher: give --layout bin and --teacher FILE")
    if args.layout == "uccs" and (args.distractors is not None or args.pool != "none" or args.protocol != ["lr-lr"]):
        raise ValueError("uccs has no gallery, only a refitted last layer: leave out --distractors, --pool and --protocol")
    if not Path(args.data).exists():
        raise FileNotFoundError(f"no data set at {args.data}; `aird identify --help` says how each layout lies")
    device = pick_device()
    questions = combined(args, args.px or [None], args.degradation or DEFAULTS["degradation"], [adaptation(args)])
    for question in questions:
        check_low(question["px"], question["degradation"])
    [student], teacher = load_networks(args, [args.model], questions, device)
    if args.layout == "uccs":
        rows = _uccs_rows(args, student, questions, device)
        print(_draws_table(rows))
    else:
        rows = _search_rows(args, student, teacher, questions, device)
        print(table(rows))
    if args.json:
        rows = stamped(rows, device, {"student": args.model, "teacher": args.teacher})
        write_atomically(Path(args.json), json.dumps(rows, indent=1).encode())
    return 0


def read_searches(layout: str, data: str, distractors: str | None) -> list:
    """The searches of every layout but a .bin. distractors: None, or a folder of further ones."""
    from aird_plugin.data import matlists, searches

    if distractors == "":
        raise ValueError(f"--distractors without a folder is for --layout bin; for {layout} name the folder of their pictures")
    read = {
        "folders": searches.read_folders, "scface": searches.read_scface,
        "tinyface": matlists.read_tinyface, "survface": matlists.read_survface,
    }  # fmt: skip
    found = read[layout](Path(data))
    further = searches.pictures_in(Path(distractors)) if distractors else []
    return [searches.with_distractors(search, further) for search in found]


def read_bin(data: str, distractors: str | None, merge: float | None, teacher, batch: int, device: str) -> list:
    """The search of a .bin. merge: join people whose pooled sharp faces the teacher scores above this cosine."""
    from aird_plugin.data.searches import bin_people, pictures_in, split_people, with_distractors
    from aird_plugin.evaluation.pooling import merge_groups
    from aird_plugin.evaluation.searching import picture_sums

    pictures, who_N = bin_people(Path(data))
    if merge is not None:
        who_N = merge_groups(picture_sums(teacher, pictures, None, None, batch, device, "teacher, people"), who_N, merge)
    search = split_people(pictures, who_N, distractors == "")
    return [with_distractors(search, pictures_in(Path(distractors))) if distractors else search]


def table(rows: list[dict]) -> str:
    """Rows as aligned plain text; ranks and map in per cent, tpir in 0..1, - for what does not apply."""
    rates = list(rows[0]["tpir"])
    heads = ["data", *SETTINGS, "rank1", "ci95", "rank5", "rank20", "map", *(f"tpir@{rate}" for rate in rates), *COUNTS]
    lines = [heads]
    for row in rows:
        ranks = [figure(row[key], 2) for key in ("rank5", "rank20", "map")]
        tpirs = [figure(row["tpir"][rate], 4) for rate in rates]
        interval = "{:.2f}..{:.2f}".format(*row["ci95"])
        counts = [str(row[key]) for key in COUNTS]
        lines.append([*_settings(row), figure(row["rank1"], 2), interval, *ranks, *tpirs, *counts])
    return aligned(lines)


def _settings(row: dict) -> list[str]:
    name = "/".join(part for part in (Path(row["data"]).name, row["name"]) if part)
    return [name, *("-" if row[key] is None else str(row[key]) for key in SETTINGS)]


def _search_rows(args, student, teacher, questions, device) -> list[dict]:
    from aird_plugin.evaluation.searching import SearchSession

    if args.layout == "bin":
        found = read_bin(args.data, args.distractors, args.merge, teacher, args.batch, device)
    else:
        found = read_searches(args.layout, args.data, args.distractors)
    rows = []
    for search in found:
        session = SearchSession(student, search, args.data, args.layout, teacher, args.batch, device)
        rows += [session.evaluate(**question, pooling=args.pool) | {"merge": args.merge} for question in questions]
    return rows


def _uccs_rows(args, student, questions, device) -> list[dict]:
    import numpy as np

    from aird_plugin.data.degrade import named
    from aird_plugin.data.folder import people_in
    from aird_plugin.data.searches import Picture, fingerprint
    from aird_plugin.evaluation.embed import normalise
    from aird_plugin.evaluation.refit import refit_accuracies
    from aird_plugin.evaluation.searching import check_low, picture_sums

    people = people_in(Path(args.data))
    pictures = [Picture(str(file)) for _, files in people for file in files]
    who_N = np.repeat(np.arange(len(people)), [len(files) for _, files in people])
    rows = []
    for question in questions:
        px, degradation, facebn, keep, order = (question[key] for key in ("px", "degradation", "facebn", "keep", "order"))
        adapt = None if facebn is None else (facebn, keep, None if order == "file" else order)
        low = check_low(px, degradation)
        sums_ND = picture_sums(student, pictures, low, adapt, args.batch, device, "student")
        draws = refit_accuracies(normalise(sums_ND), who_N, DRAWS)
        rows.append({
            "data": args.data, "data_sha256": fingerprint(pictures, who_N), "layout": "uccs",
            "px": px, "facebn": facebn, "n_faces": len(pictures), "n_people": len(people),
            "accuracy": float(np.mean(draws)), "accuracy_std": float(np.std(draws, ddof=1)), "draws": draws,
            "degradation": None if px is None else degradation, "resize": named(degradation).version,
        })  # fmt: skip
    return rows


def _draws_table(rows: list[dict]) -> str:
    heads = ["data", "px", "accuracy", "std", "draws"]
    return aligned([heads, *(
        [Path(row["data"]).name, str(row["px"] or "-"), figure(row["accuracy"], 2), figure(row["accuracy_std"], 2), str(DRAWS)]
        for row in rows
    )])  # fmt: skip
