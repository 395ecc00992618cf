"""Rows of the table, and running a check so that its exception becomes a row."""

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from aird_plugin.utils.errors import describe

OK, FAILED, SKIPPED, NOTE = "ok", "FAILED", "skipped", ""


class Skipped(Exception):
    """What a check needs is not there; the message names what brings it."""


class Row(NamedTuple):
    """One line of the table. status: "ok", "FAILED", "skipped", or "" for a figure without a bound."""

    what: str
    status: str
    figure: str = ""
    bound: str = ""
    seconds: float = 0.0


class Sizes(NamedTuple):
    """How large the data and the timed networks are. speed_networks: (network, batch size, keys) of each pair of speeds."""

    identities: int = 24
    shots: int = 4
    pairs: int = 100
    speed_identities: int = 320
    speed_networks: tuple = (("r18", 96, ("bf16=True",)), ("native16_1m", 96, ()))
    speed_teacher: str = "r50"
    speed_width: int = 512
    negatives: int = 1024
    steps: int = 10
    turns: int = 5


# For the checks themselves, on a CPU.
SMALL_SIZES = Sizes(
    identities=8,
    pairs=20,
    speed_identities=8,
    speed_networks=(("native16_0.05m", 8, ()),),
    speed_teacher="native112_0.05m",
    speed_width=128,
    negatives=8,
    steps=1,
    turns=1,
)


@dataclass(frozen=True)
class CheckContext:
    """What every check is given. checkout: an arcface_torch folder, or None. deadline: of `time.monotonic`.

    limit_s: time limit of a check; each command that it runs has a third of it.
    """

    device: torch.device
    scratch: Path
    sizes: Sizes = Sizes()
    checkout: str | None = None
    deadline: float = float("inf")
    limit_s: float = 300.0

    @property
    def late(self) -> bool:
        return time.monotonic() > self.deadline


Check = Callable[[CheckContext], Iterable[Row]]


def bounded(what: str, value: float, bound: float, detail: str = "") -> Row:
    """The row of a figure that must not exceed its bound; NaN exceeds every bound."""
    figure = f"{value:.2g}" + (f" ({detail})" if detail else "")
    return Row(what, OK if value <= bound else FAILED, figure, f"at most {bound:g}")


def largest(values: Iterable[float]) -> float:
    """The largest value, NaN if one is: `max` drops a NaN that is not the first."""
    return float(np.max(list(values)))


def run_check(name: str, check: Check, context: CheckContext) -> Iterator[Row]:
    """The rows of a check with their seconds; an exception becomes a row, and its traceback goes to stderr."""
    started = time.monotonic()
    try:
        if context.late:
            raise Skipped("no time left (--minutes)")
        for row in check(context):
            yield row._replace(seconds=time.monotonic() - started)
            started = time.monotonic()
    except Skipped as reason:
        yield Row(name, SKIPPED, str(reason), seconds=time.monotonic() - started)
    # Whatever a check raises is its result.
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        yield Row(name, FAILED, one_line(error), seconds=time.monotonic() - started)


def one_line(error: Exception) -> str:
    """An error's description, without what would end a cell of the table."""
    return " ".join(describe(error).split()).replace("|", "/")[:200]


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| check | | figure | bound | s |", "|---|---|---|---|---|"]
    lines += [f"| {row.what} | {row.status} | {row.figure} | {row.bound} | {row.seconds:.1f} |" for row in rows]
    return "\n".join(lines)
