"""`aird train`: train a student, in the embedded loop or in arcface_torch's, or a diffusion prior."""

import argparse

from aird_plugin.cli.recipe_arguments import add_checkout_argument, add_recipe_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird train` and train.py."""
    add_recipe_arguments(parser)
    add_checkout_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Train a student, or a diffusion prior where the recipe sets prior_side. After Ctrl-C the same command resumes."""
    from aird_plugin.config.recipe import load
    from aird_plugin.utils.distributed import launched_rank

    recipe, checkout = load(args.recipe, args.overrides), args.arcface_torch
    if recipe.prior.prior_side and checkout:
        raise ValueError(f"{args.recipe} trains a prior, which arcface_torch's loop does not support; drop --arcface-torch")
    if recipe.prior.prior_side:
        from aird_plugin.prior.training import train as train_prior

        folder = train_prior(recipe)
    elif checkout:
        from aird_plugin.bridge.host import train as train_in_arcface_torch

        folder = train_in_arcface_torch(recipe, checkout)
    else:
        from aird_plugin.training.loop import train as train_embedded

        folder = train_embedded(recipe)
    if launched_rank() == 0:
        print(f"done: {folder}")
    return 0
