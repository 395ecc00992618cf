"""`aird doctor`: check the machine, a recipe, a checkout of arcface_torch, and how a teacher is fed. Heavy imports are inside."""

import argparse
from pathlib import Path

from aird_plugin.cli.input_arguments import INPUT_FLAGS, parse_input
from aird_plugin.cli.recipe_arguments import add_checkout_argument, add_recipe_arguments
from aird_plugin.cli.tables import aligned, figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird doctor`."""
    add_recipe_arguments(parser, optional="also check this recipe's inputs")
    add_checkout_argument(parser)
    add = parser.add_argument
    add(
        "--teacher",
        metavar="FILE",
        help="only compare the ways to feed this teacher, .onnx or .pt, on --pairs or --rec; exit code 1 if another is better",
    )
    add("--teacher-input", **INPUT_FLAGS["--teacher-input"])
    add("--network", metavar="NAME", help="architecture of a bare .pt teacher, for example native112_0.5m. default: by its keys")
    add("--pairs", metavar="FILE", help="labelled images for --teacher: an InsightFace verification file (.bin)")
    add("--rec", metavar="DIR", help="labelled images for --teacher: a training set, or one subfolder per identity")
    add(
        "--gpu",
        action="store_true",
        help="compare this machine's GPU with the CPU, on drawn faces, and measure its speed; exit code 2 without a GPU",
    )
    add("--fake", action="store_true", help="with --gpu: run every recipe's forward on CUDA tensors without data; needs no GPU")
    add(
        "--only",
        metavar="CHECK",
        nargs="+",
        default=(),
        help="with --gpu: only these checks of docs/benchmarks/gpu.md. default: all",
    )
    add("--minutes", metavar="M", type=float, help="with --gpu: begin no check after this many minutes. default: 10")


def run(args: argparse.Namespace) -> int:
    """Print diagnostics of the machine, a recipe's inputs and an arcface_torch checkout. Exit code 1 for an error.

    With --gpu: print a table of checks; exit code 1 for one that failed, 2 without a GPU.
    With --teacher: print a table of the ways to feed it. Exit code 1 if another way than the present one is clearly better.
    Raises ValueError for arguments that do not go together.
    """
    check(args)
    if args.teacher:
        return compare_inputs(args)
    if args.gpu:
        return check_gpu(args)
    from aird_plugin.bridge.doctor import check_checkout
    from aird_plugin.diagnostics.machine import check_machine
    from aird_plugin.diagnostics.recipe_check import check_recipe

    diagnostics = [*check_machine()]
    if args.recipe:
        diagnostics += check_recipe(args.recipe, args.overrides, bool(args.arcface_torch))
    if args.arcface_torch:
        diagnostics += check_checkout(args.arcface_torch)
    for diagnostic in diagnostics:
        print(diagnostic)
    errors, warnings = (sum(one.status == status for one in diagnostics) for status in ("error", "warning"))
    print((f"{errors} error(s)" if errors else "no error found") + (f", {warnings} warning(s)" if warnings else ""))
    return 1 if errors else 0


def check(args: argparse.Namespace) -> None:
    """Raise ValueError for arguments that the checks of the others would ignore."""
    of_teacher = args.teacher or args.pairs or args.rec or args.teacher_input or args.network
    of_gpu = args.gpu or args.fake or args.only or args.minutes is not None
    if of_teacher and of_gpu:
        raise ValueError("--gpu checks the machine and --teacher a teacher's input: give one of them")
    if of_teacher and (not args.teacher or bool(args.pairs) == bool(args.rec) or args.recipe or args.arcface_torch):
        raise ValueError("give --teacher FILE with either --pairs FILE.bin or --rec DIR, no recipe and no --arcface-torch")
    if of_gpu and not args.gpu:
        raise ValueError("--fake, --only and --minutes belong to --gpu")
    if args.gpu and args.recipe:
        raise ValueError(f"--gpu checks the machine with recipes of its own: leave out {args.recipe}, or leave out --gpu")
    if args.fake and (args.only or args.minutes is not None or args.arcface_torch):
        raise ValueError("--fake runs every recipe's forward: leave out --only, --minutes and --arcface-torch")


def check_gpu(args: argparse.Namespace) -> int:
    """The checks of a GPU, or of every recipe's devices without one."""
    if args.fake:
        from aird_plugin.diagnostics.gpu.fake import run_fake

        return run_fake()
    from aird_plugin.diagnostics.gpu.suite import run_checks

    return run_checks(only=args.only, checkout=args.arcface_torch, minutes=10.0 if args.minutes is None else args.minutes)


def compare_inputs(args: argparse.Namespace) -> int:
    """Print the ways to feed a teacher, best first, and whether another one than the present way is clearly better."""
    from aird_plugin.data.records import open_records
    from aird_plugin.diagnostics.input_probe import best_of, flag_value, probe, sample_of_pairs, sample_of_records
    from aird_plugin.evaluation.pair_files import check_pairs_file
    from aird_plugin.models.load import load_teacher
    from aird_plugin.utils.devices import pick_device

    given = parse_input("--teacher-input", args.teacher_input)
    if args.pairs:
        check_pairs_file(args.pairs, images=False)
    teacher = load_teacher(args.teacher, args.network, pick_device("auto"), given)
    sample = sample_of_pairs(args.pairs) if args.pairs else sample_of_records(open_records(args.rec))
    ways = probe(teacher, sample)
    print(f"{Path(args.teacher).name} on {len(sample.same_N)} pairs of {args.pairs or args.rec}")
    print(input_table(ways))
    if not sample.coloured:
        print("the images are grey: rgb and bgr are the same to them")
    best = best_of(ways)
    if best is None:
        print("no way is clearly better than the present one")
        return 0
    way = best.stated
    print(f"clearly better: --teacher-input {flag_value(way)!r}, in a recipe teacher_input={way.describe()}")
    return 1


def input_table(ways: list) -> str:
    """Ways as aligned plain text.

    accuracy: per cent of pairs; points: its difference to the present way, with its corrected p. margin: gain of the identities'
    margins (cosine to the own image minus the highest to another identity's) over the present way, with its interval and t.
    """
    from aird_plugin.diagnostics.input_probe import flag_value

    rows = []
    for way in ways:
        compared = ["-"] * 5
        if not way.present:
            compared = [f"{way.row['difference']:+.2f}", f"{way.row['p_holm']:.2g}"]
            compared += [f"{way.gain:+.4f}", "{:+.4f}..{:+.4f}".format(*way.ci95), f"{way.t:+.1f}"]
        verdict = "present" if way.present else "clearly better" if way.is_clearly_better else "-"
        rows.append([flag_value(way.stated), figure(way.accuracy, 2), figure(way.auc, 4), *compared, verdict])
    return aligned([["way", "accuracy", "auc", "points", "p", "margin", "ci95", "t", ""], *rows])
