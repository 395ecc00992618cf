"""Checks of the training images themselves: which files of a folder are left out, and which images do not decode."""

from collections.abc import Iterator

from aird_plugin.diagnostics.diagnostic import Diagnostic


def check_left_out(records) -> Iterator[Diagnostic]:
    """A warning with what the training set's folder holds besides the images that are taken."""
    walk = getattr(records, "left_out", None)
    if walk and (line := walk.line()):
        yield Diagnostic("warning", line)
