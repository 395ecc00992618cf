"""`aird calibrate`: thresholds of any recognisers, measured on pairs. Heavy imports are inside the functions."""

import argparse
import os
from pathlib import Path
from typing import Any

from aird_plugin.cli.model_arguments import add_network_arguments, read_inputs

EPILOG = """\
PAIRS is an InsightFace .bin with images of people whom the networks were not trained on; tools/make_bin.py writes one from
aligned crops. 1,000 impostor pairs support a false-accept rate of 1%, 10,000 one of 0.1%. Each image is downsampled to each px
and cropped as a face of a frame is. The file records the hashes of the networks; `aird enrol`, `aird recognise` and
TinyFaceAnalysis read it beside the recogniser, or where --thresholds names it.
"""
SMALLEST_PX = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird calibrate`."""
    parser.epilog, add = EPILOG, parser.add_argument
    add("pairs", metavar="PAIRS", help="pairs of aligned images, an InsightFace .bin")
    add_network_arguments(parser)
    add("--px", metavar="N", type=int, nargs="+", help="face sizes to measure, in pixels, 4 to 112. default: 12 16 24 32 48 64")
    add("--out", metavar="FILE", type=Path, help="file to write, .json. default: NAME.thresholds.json beside the HR recogniser")


def run(args: argparse.Namespace) -> int:
    """Measure the thresholds of the recognisers of a pack, with or without students, for `aird recognise`.

    Raises ValueError, OSError or ImportError, and then writes nothing.
    """
    from aird_plugin.evaluation.pair_files import check_pairs_file, missing_impostors
    from aird_plugin.recognition.calibration_files import beside, write_section
    from aird_plugin.recognition.measure import SIDES, measure
    from aird_plugin.recognition.model_files import find_sources
    from aird_plugin.recognition.networks import open_models

    sides = check_sides(args.px) if args.px else SIDES
    check_pairs_file(args.pairs, images=False)
    if problem := missing_impostors(args.pairs):
        raise ValueError(problem)
    networks = open_models(find_sources(args.models, args.root), args.device, read_inputs(args.model_input)).networks
    out = args.out or beside(networks[-1].model.path)
    check_place(out)
    section = measure(networks, args.pairs, sides)
    write_section(out, section)
    print(table(section, {network.identity: network.name for network in networks}))
    print(f"{out}: thresholds of {', '.join(network.name for network in networks)}")
    return 0


def check_sides(px: list[int]) -> tuple[int, ...]:
    """The face sizes, ascending. Raises ValueError for one outside the range that the crops have."""
    from aird_plugin.data.constants import FACE_SIDE

    wrong = [one for one in px if not SMALLEST_PX <= one <= FACE_SIDE]
    if wrong:
        raise ValueError(f"--px must lie between {SMALLEST_PX} and {FACE_SIDE}, got {wrong[0]}")
    return tuple(sorted(set(px)))


def check_place(out: Path) -> None:
    """Raise ValueError where the file cannot be written, before minutes of measuring."""
    if out.suffix != ".json":
        raise ValueError(f"--out {out}: the thresholds are a .json file")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise ValueError(f"{out.parent} is no folder that can be written to; name a file in another with --out")


def table(section: dict[str, Any], names: dict[str, str]) -> str:
    """The thresholds as text: a line for each network, px and measured false-accept rate."""
    from aird_plugin.cli.tables import aligned

    sides = {"lr-lr": "both at px", "lr-hr": "against an untouched face"}
    lines = [["network", "px", "FAR", *(f"{words}: cosine, genuine accepted" for words in sides.values())]]
    entries = {(entry["network"], entry["protocol"]): entry["rows"] for entry in section["entries"]}
    for network, name in names.items():
        for rows in zip(*(entries[network, protocol] for protocol in sides), strict=True):
            for points in zip(*(row["points"] for row in rows), strict=True):
                if any(point["cosine"] is not None for point in points):
                    cells = [
                        f"{point['cosine']:.3f}, {point['tar']:.0%}" if point["cosine"] is not None else "-" for point in points
                    ]
                    lines.append([name, str(rows[0]["px"]), f"{points[0]['far']:g}", *cells])
    return f"{aligned(lines)}\nFAR: false-accept rate of one comparison; a lower rate than those listed needs more impostor pairs"
