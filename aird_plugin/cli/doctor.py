"""`aird doctor`: check the machine, a recipe and an arcface_torch checkout. Heavy imports are inside the function."""

import argparse

from aird_plugin.cli.recipe_arguments import add_checkout_argument, add_recipe_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird doctor`."""
    add_recipe_arguments(parser, optional="also check this recipe's inputs")
    add_checkout_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print diagnostics of the machine, a recipe's inputs and an arcface_torch checkout. Exit code 1 for an error."""
    from aird_plugin.bridge.doctor import check_checkout
    from aird_plugin.diagnostics.machine import check_machine
    from aird_plugin.diagnostics.recipe_check import check_recipe

    diagnostics = [*check_machine()]
    if args.recipe:
        diagnostics += check_recipe(args.recipe, args.overrides)
    if args.arcface_torch:
        diagnostics += check_checkout(args.arcface_torch)
    for diagnostic in diagnostics:
        print(diagnostic)
    errors, warnings = (sum(one.status == status for one in diagnostics) for status in ("error", "warning"))
    print((f"{errors} error(s)" if errors else "no error found") + (f", {warnings} warning(s)" if warnings else ""))
    return 1 if errors else 0
