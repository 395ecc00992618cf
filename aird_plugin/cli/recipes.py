"""`aird recipes`: copy the recipes of the package into a folder."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird recipes`."""
    parser.add_argument("folder", help="output folder; it must not hold recipes yet")


def run(args: argparse.Namespace) -> int:
    """Copy the recipes that ship with the package into a folder."""
    from aird_plugin.utils.package_recipes import copy_recipes

    paths = copy_recipes(args.folder)
    print("\n".join(map(str, paths)))
    print(f"{sum(path.suffix == '.py' for path in paths)} recipes; {paths[0]} says which one suits what you have")
    return 0
