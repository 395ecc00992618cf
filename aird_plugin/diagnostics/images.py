"""Checks of the training images themselves: which files of a folder are left out, and which images do not decode."""

from collections.abc import Iterator

from aird_plugin.data.image_files import first_names
from aird_plugin.data.readable_records import unreadable_images
from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.utils.counts import counted


def check_left_out(records) -> Iterator[Diagnostic]:
    """A warning with what the training set's folder holds besides the images that are taken."""
    walk = getattr(records, "left_out", None)
    if walk and (line := walk.line()):
        yield Diagnostic("warning", line)


def check_every_image(records, skip_bad: float = 0.0) -> Iterator[Diagnostic]:
    """Decode every image, under a progress bar; an error names those that do not. With skip_bad they were left out before."""
    reasons = {} if skip_bad else dict(unreadable_images(records))
    if not reasons:
        yield Diagnostic("ok", f"all {counted(len(records), 'image')} can be read")
        return
    yield Diagnostic(
        "error",
        f"{len(reasons)} of {len(records)} images cannot be read: {first_names(reasons.values())}",
        f"mend or remove them; skip_bad={share_for(len(reasons), len(records))} leaves them out",
    )


def share_for(count: int, total: int) -> str:
    """The smallest share of one digit that allows `count` of `total`: 3 of 48 is 0.07."""
    digits = 1
    while digits < 12 and 10**digits * count < total:
        digits += 1
    return f"{-(-count * 10**digits // total) / 10**digits:.{digits}f}"
