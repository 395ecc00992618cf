"""`aird recipes`: copy the recipes of the package into a folder."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird recipes`."""
    parser.add_argument("folder", help="output folder; existing files are not overwritten")


def run(args: argparse.Namespace) -> int:
    """Copy the recipes that ship with the package into a folder."""
    from aird_plugin.utils.package_recipes import copy_recipes

    for path in copy_recipes(args.folder):
        print(path)
    return 0
