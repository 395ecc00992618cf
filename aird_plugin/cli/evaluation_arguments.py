"""The command-line arguments that describe evaluations, the `EvalSpec`s they give, and the networks. Heavy imports are inside."""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from aird_plugin.cli.evaluation_flags import FLAGS, US_SPELLINGS
from aird_plugin.cli.input_arguments import open_teachers, parse_input
from aird_plugin.evaluation.eval_spec import TRAINING, EvalSpec
from aird_plugin.utils.warning import warn

DEFAULTS = {"degradation": ["bicubic"], "protocol": ["lr-lr"]}


def add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an evaluation on files of pairs."""
    add = parser.add_argument
    add("--pairs", metavar="FILE", nargs="+", help="InsightFace verification files (.bin). default: those of --recipe")
    add(
        "--px",
        metavar="N",
        nargs="+",
        type=int,
        help="sides of the LR images in pixels, 4 to 112; 112: no downsampling. default: that of --recipe",
    )
    add(
        "--recipe",
        metavar="RECIPE",
        help="evaluate as this recipe does at the end of training: its val_targets, px, degradation and protocols, and with "
        "a FaceBN mode also centered and with FaceBN; command-line options override the recipe",
    )
    for flag, options in FLAGS.items():
        add(flag, *US_SPELLINGS.get(flag, ()), **options)


def pair_specs(args: argparse.Namespace) -> tuple[list[str], list[EvalSpec]]:
    """The files of pairs, and the evaluations of each: every combination.

    Raises ValueError if command line and recipe name no pairs or px, or for a file that cannot be verified, and
    FileNotFoundError for a missing one.
    """
    from aird_plugin.evaluation.pair_files import check_pairs_files

    recipe = None
    chosen: dict[str, Any] = {"pairs": None, "px": None} | DEFAULTS
    if args.recipe:
        from aird_plugin.config.recipe import load
        from aird_plugin.data.mixture import verified_degradation
        from aird_plugin.training.inputs import target_file

        recipe = load(args.recipe)
        chosen = {
            # Absent defaults, which a training does without, are errors here: their rows would be missing.
            "pairs": [target_file(recipe, target) for target in recipe.run.val_targets],
            "px": [recipe.data.px],
            "degradation": [verified_degradation(recipe.data.degradation)],
            "protocol": recipe.run.val_protocols,
        }
    chosen = {key: default if getattr(args, key) is None else getattr(args, key) for key, default in chosen.items()}
    if not chosen["pairs"] or not chosen["px"]:
        raise ValueError("name the pairs (--pairs FILE.bin) and their sizes (--px 16), or a --recipe with val_targets")
    check_pairs_files(chosen["pairs"])
    specs = combinations(base_specs(args, recipe), chosen["px"], chosen["degradation"], chosen["protocol"])
    return list(chosen["pairs"]), specs


def combinations(bases: list[EvalSpec], sides: list, degradations: list[str], protocols: list[str]) -> list[EvalSpec]:
    """Every px of `sides`, degradation and protocol, each with every base spec."""
    grid = itertools.product(sides, degradations, protocols, bases)
    return [replace(base, px=px, degradation=degradation, protocol=protocol) for px, degradation, protocol, base in grid]


def base_spec(args: argparse.Namespace) -> EvalSpec:
    """High side, FaceBN and centring of the command line. ValueError for FaceBN's options without a mode, or an unknown order."""
    check_order([spec := _base_spec(args)], args)
    return spec


def check_order(specs: list[EvalSpec], args: argparse.Namespace) -> None:
    """Raise ValueError for an order of the images where no evaluation has FaceBN, whose batches alone depend on it."""
    if args.order is not None and not any(spec.facebn for spec in specs):
        raise ValueError("--order is of the images in FaceBN's batches: name a mode with --facebn, or leave it out")


def _base_spec(args: argparse.Namespace) -> EvalSpec:
    from aird_plugin.models.facebn import KEEP

    if args.keep is not None and args.facebn is None:
        raise ValueError("--keep weighs FaceBN's statistics: name a mode with --facebn, or leave it out")
    if args.include_bn1d and not args.facebn:
        raise ValueError("--include-bn1d is for FaceBN: name a mode with --facebn, or leave it out")
    keep = KEEP.get(args.facebn, 0.9) if args.keep is None else args.keep
    centre = TRAINING if args.training_centre else False
    order = _order("file" if args.order is None else args.order)
    adaptation = {"facebn": args.facebn, "keep": keep, "include_bn1d": args.include_bn1d, "order": order}
    return EvalSpec(high_side=args.high_side, centre=centre, **adaptation)


def base_specs(args: argparse.Namespace, recipe=None) -> list[EvalSpec]:
    """FaceBN and centring of the command line, else of the recipe: frozen, centred (the control) and with its FaceBN."""
    plain = _base_spec(args)
    if args.centre and args.training_centre:
        raise ValueError("--centre and --training-centre exclude each other; leave one of them out")
    if args.facebn or args.centre or args.training_centre or not (recipe and recipe.run.facebn):
        specs = [replace(plain, centre=args.centre or plain.centre)]
        check_order(specs, args)
        return specs
    order = recipe.run.seed if args.order is None else plain.order
    return [
        plain,
        replace(plain, centre=True),
        replace(plain, facebn=recipe.run.facebn, keep=recipe.run.keep, include_bn1d=recipe.run.include_bn1d, order=order),
    ]


def load_networks(args: argparse.Namespace, models: list[str], specs: list[EvalSpec], device) -> tuple[list, object]:
    """Load the students `models` and the teacher, and check that they support every spec.

    Raises ValueError or FileNotFoundError if networks, files and specs do not fit together.
    """
    from aird_plugin.data.degradation import get_degradation
    from aird_plugin.data.lowres import check_px
    from aird_plugin.evaluation.sides import check_eval_spec
    from aird_plugin.models.coordinates import foreign_teacher
    from aird_plugin.models.find import find_model
    from aird_plugin.models.load import load_model

    if args.batch < 1:
        raise ValueError(f"--batch must be 1 or more, got {args.batch}")
    for spec in specs:
        get_degradation(spec.degradation)
        if spec.px is not None:
            check_px(spec.px)
    given = parse_input("--input", args.input)
    found = [find_model(model) for model in models]
    onnx = [one.file.suffix == ".onnx" for one in found]
    # A run is fed as it was trained. With several models, --input is for the .onnx files, if there are any.
    fed = onnx if any(onnx) else [one.network is None for one in found]
    if given is not None and not any(fed):
        raise ValueError(f"--input states how an .onnx or a bare .pt is fed, and {', '.join(models)} is a run; leave it out")
    students = []
    for model, one, takes_input in zip(models, found, fed, strict=True):
        # With several models, --network is for the bare .pt files.
        network = None if len(models) > 1 and one.network else args.network
        students.append(load_model(model, network, device, given if takes_input else None))
    teacher = open_teachers(args, device)
    high_sides = {check_eval_spec(student, teacher, spec) for student, spec in itertools.product(students, specs)}
    if "teacher" in high_sides:
        for model, student in zip(models, students, strict=True):
            warn(foreign_teacher(model, student, teacher))
    return students, teacher


def load_means(models: list[str], students: list, teacher, specs: list[EvalSpec]) -> list[Any]:
    """The training means of each model, None each where no spec is centered by them.

    Raises what `read_means` raises, and ValueError where a spec needs the mean of a teacher that the model does not have.
    """
    from aird_plugin.evaluation.sides import check_eval_spec
    from aird_plugin.models.recorded import half_centered
    from aird_plugin.models.training_means import read_means

    found: list[Any] = []
    for model, student in zip(models, students, strict=True):
        high_sides = {check_eval_spec(student, teacher, spec) for spec in specs}
        if any(spec.centre == TRAINING for spec in specs):
            found.append(read_means(model, student))
            if "teacher" in high_sides:
                found[-1].center("teacher", teacher)
        else:
            found.append(None)
            warn(half_centered(model, student) if "teacher" in high_sides else "")
    return found


def with_skipped(rows: list[dict], models: dict[str, str]) -> list[dict]:
    """The rows, each with the number of unreadable images that its students were trained without, where there are any.

    models: name -> path; of several, the row holds the numbers by name.
    """
    from aird_plugin.models.find import skipped_images

    counts = {name: count for name, path in models.items() if (count := skipped_images(path))}
    if not counts:
        return rows
    return [row | {"skipped_images": counts if len(models) > 1 else next(iter(counts.values()))} for row in rows]


def write_rows(file: str | None, rows: list[dict], device, models: dict[str, Any], networks: dict[str, Any]) -> None:
    """Write the rows with their provenance as JSON, if a file is given.

    models: name -> path. networks: name -> the loaded network. Both are None for an absent one.
    """
    from aird_plugin.models.find import model_hashes
    from aird_plugin.models.teacher_input import described_inputs
    from aird_plugin.utils.files import write_atomically
    from aird_plugin.utils.provenance import stamped

    if file:
        rows = stamped(rows, device, model_hashes(models), described_inputs(networks))
        write_atomically(Path(file), json.dumps(rows, indent=1).encode())


def _order(text: str) -> str | int:
    if text == "file":
        return text
    if text.isdecimal():
        return int(text)
    raise ValueError(f"--order must be 'file' or a seed (a whole number of 0 or more), got {text!r}")
