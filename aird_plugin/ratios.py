"""What the benchmarks share: two things timed in turns in one process, and a row that says how they compare.

A busy machine slows both alike, so a row's figure is the median of the turns' ratios; its spread is their middle half.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aird_plugin.files import write_atomically
from aird_plugin.progress import progress

AT_MOST, AT_LEAST = "at most", "at least"


class Row(NamedTuple):
    """One line of the table. ratio: median; low, high: its quartiles over the turns. detail: absolutes, sizes, conditions."""

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


def in_turns(calls: dict[str, Callable[[], object]], turns: int, warm: int = 1) -> dict[str, list[float]]:
    """Seconds of every call in each turn. The order turns round every time, so that none always follows the same one."""
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in progress(range(-warm, turns), warm + turns, "turns", "turns"):
        for name in names if turn % 2 == 0 else reversed(names):
            gc.collect()
            started = time.perf_counter()
            calls[name]()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def compare(what: str, bound: str, target: float, over: list[float], under: list[float], detail: str = "") -> Row:
    """The row of over / under, turn by turn: seconds / seconds, in whichever order the target is stated."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return Row(what, bound, target, ratio, low, high, detail)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | target | ratio | middle half | | detail |", "|---|---|---|---|---|---|"]
    for row in rows:
        told = (row.what, f"{row.bound} {row.target:g}", f"{row.ratio:.3g}", f"{row.low:.3g} to {row.high:.3g}")
        lines.append(f"| {' | '.join(told)} | {'met' if row.met else 'missed'} | {row.detail} |")
    return "\n".join(lines)


def tell(rows: list[Row], json_file: str | None) -> None:
    """Print the table; keep the rows in a file too, where one is named."""
    print(table(rows))
    sys.stdout.flush()
    if json_file:
        write_atomically(Path(json_file), json.dumps([row._asdict() for row in rows], indent=1).encode())


def backward(loss: Callable, *inputs) -> Callable[[], None]:
    """Forward and backward as one call; what is no scalar is summed."""
    return lambda: loss(*inputs).sum().backward()


def finished(call: Callable[[], object], device: str) -> Callable[[], object]:
    """The call with its work on the device done before it returns."""
    if device == "cpu":
        return call
    import torch

    return lambda: (call(), torch.cuda.synchronize())


def milliseconds(seconds: list[float]) -> str:
    """Their median, as a row's detail tells it."""
    return f"{1000 * statistics.median(seconds):,.1f} ms"
