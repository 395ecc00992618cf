"""The `aird` command: one function a verb. `aird VERB --help` is enough to use it."""

import argparse
import faulthandler
import os
import sys
from collections.abc import Callable

RECIPE_HELP = "a recipe file, for example recipes/quickstart.py"
OVERRIDE_HELP = "recipe keys to change, as key=value with Python literals: lr=0.1 views=8 terms={}"


def train(args) -> int:
    """Train a student, or the prior that a recipe with prior_side describes."""
    from aird_plugin.recipe import load

    recipe, checkout = load(args.recipe, args.overrides), args.arcface_torch
    if recipe.prior.prior_side and checkout:
        raise ValueError(f"{args.recipe} trains a prior, which arcface_torch's loop cannot; leave --arcface-torch out")
    if recipe.prior.prior_side:
        from aird_plugin.prior.training import train as train_prior

        folder = train_prior(recipe)
    elif checkout:
        from aird_plugin.bridge.host import train as train_in_arcface_torch

        folder = train_in_arcface_torch(recipe, checkout)
    else:
        from aird_plugin.loop import train as train_embedded

        folder = train_embedded(recipe)
    if int(os.environ.get("RANK", 0)) == 0:
        print(f"done: {folder}")
    return 0


def bank(args) -> int:
    """Build the bank of a recipe (or check that it is there and fits)."""
    from aird_plugin.bank_command import run

    return run(args)


def evaluate(args) -> int:
    """Verify pairs of faces."""
    from aird_plugin.evaluation.command import run

    return run(args)


def compare(args) -> int:
    """Say whether one model beats another on the same pairs of faces."""
    from aird_plugin.evaluation.compare_command import run

    return run(args)


def identify(args) -> int:
    """Find people in a gallery: ranks, and the open set."""
    from aird_plugin.evaluation.identify_command import run

    return run(args)


def doctor(args) -> int:
    """Say what is here, what is missing and what to do about it; the exit code tells."""
    from aird_plugin.doctor import run

    return run(args)


def adapt(args) -> int:
    """Move a student's BatchNorm statistics towards your own unlabelled faces."""
    from aird_plugin.adaptation.command import run

    return run(args)


def align(args) -> int:
    """Crop the faces out of photos, aligned as InsightFace does."""
    from aird_plugin.alignment.command import run

    return run(args)


def export(args) -> int:
    """Write a run's student as ONNX for InsightFace, run back and compared."""
    from aird_plugin.export.command import run

    return run(args)


def demo(args) -> int:
    """Try a student on two faces, in the browser: a page on this machine alone."""
    from aird_plugin.demo.command import run

    return run(args)


def report(args) -> int:
    """Draw runs and what they can do into one HTML file that opens anywhere."""
    from aird_plugin.report.command import run

    return run(args)


def recipes(args) -> int:
    """Copy the recipes that ship with the package into a folder."""
    from aird_plugin.shipped import copy_recipes

    for path in copy_recipes(args.folder):
        print(path)
    return 0


def parser() -> argparse.ArgumentParser:
    """Every verb and its arguments."""
    from aird_plugin import __version__
    from aird_plugin.adaptation.command import add_arguments as add_adapt_arguments
    from aird_plugin.alignment.command import add_arguments as add_align_arguments
    from aird_plugin.demo.command import add_arguments as add_demo_arguments
    from aird_plugin.evaluation.command import add_arguments as add_evaluate_arguments
    from aird_plugin.evaluation.compare_command import add_arguments as add_compare_arguments
    from aird_plugin.evaluation.identify_command import add_arguments as add_identify_arguments
    from aird_plugin.export.command import add_arguments as add_export_arguments
    from aird_plugin.report.command import add_arguments as add_report_arguments

    top = argparse.ArgumentParser(prog="aird", description="Teach small networks to recognise tiny faces.")
    top.add_argument("--version", action="version", version=__version__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, work: Callable) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=work.__doc__, description=work.__doc__)
        sub.set_defaults(work=work)
        return sub

    for name, work in (("train", train), ("bank", bank)):
        sub = verb(name, work)
        sub.add_argument("recipe", help=RECIPE_HELP)
        sub.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDE_HELP)
        if work is train:
            add_checkout_argument(sub)
    sub = verb("doctor", doctor)
    sub.add_argument("recipe", nargs="?", help="also check this recipe's inputs")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDE_HELP)
    add_checkout_argument(sub)
    add_evaluate_arguments(verb("evaluate", evaluate))
    add_compare_arguments(verb("compare", compare))
    add_align_arguments(verb("align", align))
    add_identify_arguments(verb("identify", identify))
    add_adapt_arguments(verb("adapt", adapt))
    add_export_arguments(verb("export", export))
    add_demo_arguments(verb("demo", demo))
    add_report_arguments(verb("report", report))
    verb("recipes", recipes).add_argument("folder", help="where to; files of the same name are not overwritten")
    return top


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The arguments. key=value may also stand behind an option, where argparse alone would not look for it."""
    from aird_plugin.paths import expand_arguments

    top = parser()
    args, rest = top.parse_known_args(argv)
    if rest and (not hasattr(args, "overrides") or any(word.startswith("-") or "=" not in word for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.overrides = [*args.overrides, *rest]
    return expand_arguments(args)


def add_checkout_argument(sub: argparse.ArgumentParser) -> None:
    """--arcface-torch, which the environment may state for good."""
    help_text = "run inside this checkout of arcface_torch, or of all InsightFace (default: $ARCFACE_TORCH)"
    sub.add_argument("--arcface-torch", metavar="DIR", default=os.environ.get("ARCFACE_TORCH"), help=help_text)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 bad input (one line `error: ...`; a traceback only with AIRD_DEBUG=1), 130 after Ctrl-C."""
    from aird_plugin.memory import keep_freed_memory
    from aird_plugin.threads import bound_spinning

    bound_spinning()
    args = parse(argv)
    keep_freed_memory()
    # A mapped file that was cut short, or lies on a drive that went away, ends the process: let it say where.
    if sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
    try:
        return args.work(args)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        from aird_plugin.errors import Interrupted, describe

        if isinstance(error, Interrupted):
            print(error, file=sys.stderr)
            return 130
        if os.environ.get("AIRD_DEBUG") == "1":
            raise
        print(f"error: {describe(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
