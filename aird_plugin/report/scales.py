"""Axes of charts: map data values to positions, with round tick values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

STEPS = (1, 2, 5, 10)
SHARES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Scale:
    """An axis. low, high: its ends, in data units; ticks: [(value, label)]; transform: data value -> linear position."""

    low: float
    high: float
    ticks: list[tuple[float, str]]
    transform: Callable[[float], float] = float

    def position(self, value: float) -> float:
        """Position of a value, 0 at the low end and 1 at the high end; values outside are clipped."""
        low, position, high = map(self.transform, (self.low, min(max(value, self.low), self.high), self.high))
        return (position - low) / (high - low)


def linear(low: float, high: float, count: int = 5) -> Scale:
    """An axis whose ends and ticks are integer multiples of 1, 2 or 5 times a power of ten; about `count` ticks.

    Heckbert, "Nice numbers for graph labels", Graphics Gems 1990.
    """
    if not high - low > max(1e-12 * max(abs(low), abs(high)), 1e-300):
        margin = abs(low) / 10 or 1.0
        low, high = low - margin, high + margin
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in STEPS if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = [(n * step, f"{n * step:.{digits}f}") for n in range(first, last + 1)]
    return Scale(ticks[0][0], ticks[-1][0], [(value, label.replace("-", "−")) for value, label in ticks])


def within(low: float, high: float, count: int = 5) -> Scale:
    """A linear axis from exactly `low` to `high`, with round ticks in between."""
    outer = linear(low, high, count)
    slack = 1e-9 * (outer.high - outer.low)
    return Scale(low, high, [tick for tick in outer.ticks if low - slack <= tick[0] <= high + slack]) if high > low else outer


def doubling(values: list[float]) -> Scale:
    """A logarithmic axis labelled with the given values (with every n-th one if they are many)."""
    shown = sorted(set(values))
    margin = 1.12
    ticks = [(value, f"{value:g}") for value in shown[:: math.ceil(len(shown) / 7)]]
    return Scale(shown[0] / margin, shown[-1] * margin, ticks, math.log)


def normal_deviates(low: float, high: float) -> Scale:
    """The axis of a DET chart: errors of normally distributed scores lie on a straight line. Labels are per cent.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    ticks = [(share, f"{100 * share:g}%") for share in SHARES if low <= share <= high]
    return Scale(low, high, ticks, NormalDist().inv_cdf)
