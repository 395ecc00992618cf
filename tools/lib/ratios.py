"""Shared by the benchmarks: calls timed in turns in one process, and a table row of their ratio.

Load slows both calls alike, so a row's figure is the median of the ratios of the turns; its spread is their interquartile range.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aird_plugin.utils.files import write_atomically
from aird_plugin.utils.progress import progress

AT_MOST, AT_LEAST = "at most", "at least"


class Row(NamedTuple):
    """One row of the table. ratio: median over the turns; low, high: quartiles. detail: absolute values, sizes, conditions."""

    what: str
    bound: str
    target: float
    ratio: float
    low: float
    high: float
    detail: str = ""

    @property
    def met(self) -> bool:
        return self.ratio <= self.target if self.bound == AT_MOST else self.ratio >= self.target


def in_turns(
    calls: dict[str, Callable[[], object]], turns: int, warm: int = 1, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every call in each turn, by this clock. The order alternates between turns."""
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in progress(range(-warm, turns), warm + turns, "turns", "turns"):
        for name in names if turn % 2 == 0 else reversed(names):
            gc.collect()
            started = clock()
            calls[name]()
            if turn >= 0:
                seconds[name].append(clock() - started)
    return seconds


def compare(what: str, bound: str, target: float, over: list[float], under: list[float], detail: str = "") -> Row:
    """The row of over / under, turn by turn, both in seconds."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Row(what, bound, target, ratio, low, high, detail)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | target | ratio | middle half | | detail |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = (row.what, f"{row.bound} {row.target:g}", f"{row.ratio:.3g}", f"{row.low:.3g} to {row.high:.3g}")
        lines.append(f"| {' | '.join(cells)} | {'met' if row.met else 'missed'} | {row.detail} |")
    return "\n".join(lines)


def print_rows(rows: list[Row], json_file: str | None) -> None:
    """Print the table; also write the rows to `json_file` if given."""
    print(table(rows))
    sys.stdout.flush()
    if json_file:
        write_atomically(Path(json_file), json.dumps([row._asdict() for row in rows], indent=1).encode())


def backward(loss: Callable, *inputs) -> Callable[[], None]:
    """Forward and backward as one call; a non-scalar loss is summed."""
    return lambda: loss(*inputs).sum().backward()


def finished(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The call, followed by a device synchronisation."""
    if device == "cpu":
        return call
    import torch

    return lambda: (call(), torch.cuda.synchronize())


def milliseconds(seconds: list[float]) -> str:
    """The median, formatted for a row's detail."""
    return f"{1000 * statistics.median(seconds):,.1f} ms"
