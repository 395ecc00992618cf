"""`aird bank`: build the caches of a recipe ahead of the run. Heavy imports are inside the function."""

import argparse

from aird_plugin.cli.recipe_arguments import add_recipe_arguments as add_arguments

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Build the bank of a recipe and print a line on each cache; under torchrun, all ranks build a large one together.

    Raises ValueError or OSError if recipe, images and bank do not fit together.
    """
    from aird_plugin.config.recipe import load
    from aird_plugin.training.bank import build_bank
    from aird_plugin.utils import distributed

    lines = build_bank(load(args.recipe, args.overrides))
    if distributed.launched_rank() == 0:
        print("\n".join(lines))
    return 0
