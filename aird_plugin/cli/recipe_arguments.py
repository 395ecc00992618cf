"""Arguments that several verbs share: a recipe with overrides, and an arcface_torch checkout."""

import argparse
import os

RECIPE_HELP = "a recipe file, for example recipes/quickstart/quickstart.py"
OVERRIDE_HELP = "recipe keys to override, with Python literals as values: lr=0.1 views=8 terms={}"


def add_recipe_arguments(parser: argparse.ArgumentParser, optional: str = "") -> None:
    """Add RECIPE and key=value. optional: the help text of a recipe that may be left out."""
    parser.add_argument("recipe", nargs="?" if optional else None, help=optional or RECIPE_HELP)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=OVERRIDE_HELP)


def add_checkout_argument(parser: argparse.ArgumentParser) -> None:
    """Add --arcface-torch; its default is the environment variable ARCFACE_TORCH."""
    help_text = (
        "use the loop of this checkout of arcface_torch, or of InsightFace's repository. default: $ARCFACE_TORCH, else none"
    )
    parser.add_argument("--arcface-torch", metavar="DIR", default=os.environ.get("ARCFACE_TORCH"), help=help_text)
