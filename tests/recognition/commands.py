"""`aird recognise` as a test runs it."""

import csv

from aird_plugin.__main__ import main


def command(frames, gallery, pack, *more):
    return main(["recognise", str(frames), "--gallery", gallery, "--models", str(pack), *map(str, more)])


def table(out):
    with (out / "faces.csv").open(newline="") as file:
        return list(csv.DictReader(file))
