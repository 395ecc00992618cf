"""What may be asked of a network on the command line, and the networks that are to answer. Heavy imports stand inside."""

import argparse
import itertools
from pathlib import Path

FLAGS = {
    "--degradation": dict(
        metavar="NAME", nargs="+",
        help="how faces become low and reach the network: bicubic; insightface-warp, as FaceAnalysis brings a small face; "
        "blur, noise, jpeg, realworld: cameras unlike those it was trained for. default: bicubic",
    ),
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
        help="FaceBN: weight of the old statistics, 0 to 1. default: 0.9, of full 0.1; the paper prints 0.1",
    ),
    "--order": dict(metavar="O", default="file", help="how faces enter batches: file, or a seed to shuffle"),
    "--centre": dict(action="store_true", help="subtract each side's mean embedding: the control to FaceBN"),
    "--batch": dict(metavar="N", type=int, default=96, help="faces in a batch; for FaceBN. default: 96"),
    "--network": dict(metavar="NAME", help="architecture of a bare .pt file, for example native16_1m"),
    "--json": dict(metavar="FILE", help="write the rows here, all figures in full"),
}  # fmt: skip
DEFAULTS = {"degradation": ["bicubic"], "protocol": ["lr-lr"]}


def add_question_arguments(parser: argparse.ArgumentParser) -> None:
    """What is asked of a model, or of several, about files of pairs."""
    add = parser.add_argument
    add("--pairs", metavar="FILE", nargs="+", help="InsightFace verification files (.bin)")
    add("--px", metavar="N", nargs="+", type=int, help="sides of low faces; 112: untouched")
    add("--recipe", metavar="RECIPE", help="ask what this recipe asks at the end of training: its val_targets, px, degradation, "
        "protocols, and where it names a FaceBN mode also centred and with FaceBN; what the command line says besides wins")
    for flag, options in FLAGS.items():
        add(flag, **options)


def questions_of_pairs(args: argparse.Namespace) -> tuple[list[str], list[dict]]:
    """Files of pairs, and what is asked of each: keyword arguments of `Session.evaluate`, every combination.

    Raises ValueError where command line and recipe leave open what to ask, FileNotFoundError for a file that is not there.
    """
    recipe, asked = None, dict(DEFAULTS)
    if args.recipe:
        from aird_plugin.recipe import load

        recipe = load(args.recipe)
        asked = {"pairs": recipe.run.val_targets, "px": [recipe.data.px], "degradation": [recipe.data.degradation],
                 "protocol": recipe.run.val_protocols}  # fmt: skip
    args = argparse.Namespace(**vars(args) | asked | {key: value for key, value in vars(args).items() if value is not None})
    if not args.pairs or not args.px:
        raise ValueError("name the pairs (--pairs FILE.bin) and their sizes (--px 16), or a --recipe with val_targets")
    for file in args.pairs:
        if not Path(file).is_file():
            raise FileNotFoundError(f"no pairs file at {file}; give the path of an InsightFace .bin")
    return list(args.pairs), combined(args, args.px, args.degradation, settings(args, recipe))


def combined(args: argparse.Namespace, sides: list, degradations: list[str], ways: list[dict]) -> list[dict]:
    """Every px of `sides`, degradation, protocol and way of adapting."""
    asked = itertools.product(sides, degradations, args.protocol, ways)
    return [
        {"px": px, "degradation": degradation, "protocol": protocol, "high_side": args.high_side, **way}
        for px, degradation, protocol, way in asked
    ]


def adaptation(args: argparse.Namespace) -> dict:
    """FaceBN as the command line has it. ValueError for a weight without a mode, or an order that is none."""
    from aird_plugin.models.facebn import KEEP

    if args.keep is not None and args.facebn is None:
        raise ValueError("--keep weighs FaceBN's statistics: name a mode with --facebn, or leave it out")
    keep = KEEP.get(args.facebn, 0.9) if args.keep is None else args.keep
    return {"facebn": args.facebn, "keep": keep, "order": _order(args.order)}


def settings(args: argparse.Namespace, recipe=None) -> list[dict]:
    """What of FaceBN and centring each row has: the command line's, or else the recipe's, with the control to its FaceBN."""
    plain = adaptation(args)
    if args.facebn or args.centre or not (recipe and recipe.run.facebn):
        return [plain | {"centre": args.centre}]
    order = recipe.run.seed if plain["order"] == "file" else plain["order"]
    adapted = {"facebn": recipe.run.facebn, "keep": recipe.run.keep, "order": order}
    return [plain | {"centre": False}, plain | {"centre": True}, adapted | {"centre": False}]


def load_networks(args: argparse.Namespace, models: list[str], questions: list[dict], device: str) -> tuple[list, object]:
    """The networks of `models` and the teacher, able to answer every question.

    Raises ValueError or FileNotFoundError where networks, files and questions do not fit together.
    """
    from aird_plugin.data.degrade import named
    from aird_plugin.data.lowres import check_px
    from aird_plugin.evaluation.protocol import check_question
    from aird_plugin.models.load import load_model, load_teacher

    if args.batch < 1:
        raise ValueError(f"--batch must be 1 or more, got {args.batch}")
    for question in questions:
        named(question["degradation"])
        if question["px"] is not None:
            check_px(question["px"])
    students = [load_model(model, args.network, device) for model in models]
    teacher = load_teacher(args.teacher, device=device) if args.teacher else None
    for student, question in itertools.product(students, questions):
        check_question(student, teacher, *(question[key] for key in ("protocol", "high_side", "facebn", "keep")))
    return students, teacher


def pick_device() -> str:
    """cuda where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _order(text: str) -> str | int:
    if text == "file":
        return text
    if text.isdecimal():
        return int(text)
    raise ValueError(f"--order must be 'file' or a seed (a whole number of 0 or more), got {text!r}")
