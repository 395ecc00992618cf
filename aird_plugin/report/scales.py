"""Numbers -> places on paper: axes with round ticks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

STEPS = (1, 2, 5, 10)
SHARES = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Scale:
    """An axis. low, high: its ends, in data units; ticks: [(value, what is written there)]; bend: what makes it even."""

    low: float
    high: float
    ticks: list[tuple[float, str]]
    bend: Callable[[float], float] = float

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one; a value beyond an end stands at that end."""
        low, here, high = map(self.bend, (self.low, min(max(value, self.low), self.high), self.high))
        return (here - low) / (high - low)


def linear(low: float, high: float, count: int = 5) -> Scale:
    """An axis whose ends and ticks are whole multiples of 1, 2 or 5 times a power of ten; about `count` ticks.

    Heckbert, "Nice numbers for graph labels", Graphics Gems 1990.
    """
    if not high - low > max(1e-12 * max(abs(low), abs(high)), 1e-300):
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in STEPS if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = [(n * step, f"{n * step:.{digits}f}") for n in range(first, last + 1)]
    return Scale(ticks[0][0], ticks[-1][0], [(value, label.replace("-", "−")) for value, label in ticks])


def within(low: float, high: float, count: int = 5) -> Scale:
    """A linear axis that ends exactly at `low` and `high`, with round ticks between them."""
    whole = linear(low, high, count)
    slack = 1e-9 * (whole.high - whole.low)
    return Scale(low, high, [tick for tick in whole.ticks if low - slack <= tick[0] <= high + slack]) if high > low else whole


def doubling(values: list[float]) -> Scale:
    """A logarithmic axis on which just these values are written (every other one where they are many): sides, counts."""
    shown = sorted(set(values))
    room = 1.12
    ticks = [(value, f"{value:g}") for value in shown[:: math.ceil(len(shown) / 7)]]
    return Scale(shown[0] / room, shown[-1] * room, ticks, math.log)


def normal_deviates(low: float, high: float) -> Scale:
    """The axis of a DET chart, on which errors of normally distributed scores lie on a straight line; shares as per cent.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    ticks = [(share, f"{100 * share:g}%") for share in SHARES if low <= share <= high]
    return Scale(low, high, ticks, NormalDist().inv_cdf)
