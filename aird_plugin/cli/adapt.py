"""`aird adapt`: adapt a run to a user's unlabelled images and write an adapted run. Heavy imports are inside the function."""

import argparse

from aird_plugin.cli.evaluation_flags import FLAGS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `aird adapt`."""
    add = parser.add_argument
    add("run", metavar="MODEL", help="a run folder (recipe.json, model.pt), or the model.pt in it")
    add("faces", metavar="FACES", help="unlabelled aligned face images: a folder of images, a .bin or a .rec")
    add("--out", metavar="DIR", required=True, help="folder to write; `aird evaluate` and `aird export` take it as a run")
    add("--px", metavar="N", type=int, help="downsample the images to N px first. default: no downsampling")
    add("--keep", metavar="F", type=float, default=0.1, help="weight of the old statistics, 0 to 1. default: 0.1")
    add("--include-bn1d", **FLAGS["--include-bn1d"])
    add("--batch", metavar="N", type=int, default=96, help="images per batch. default: 96")


def run(args: argparse.Namespace) -> int:
    """Adapt the BatchNorm statistics of a run to unlabelled images, write the adapted run and print the changes.

    Nothing is written in case of an error.
    """
    from aird_plugin.adaptation.adapted_run import adapt_run, format_report

    adapted = adapt_run(args.run, args.faces, args.out, args.px, args.keep, args.batch, args.include_bn1d)
    print(format_report(adapted, args.out))
    return 0
