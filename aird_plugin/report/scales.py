"""Numbers -> places on paper: axes with round ticks."""

import math
from dataclasses import dataclass

STEPS = (1, 2, 5, 10)


@dataclass(frozen=True)
class Scale:
    """An axis. low, high: its ends, in data units; ticks: [(value, what is written there)]; logarithmic, or not."""

    low: float
    high: float
    ticks: list[tuple[float, str]]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one; a value beyond an end stands at that end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(low: float, high: float, count: int = 5) -> Scale:
    """An axis whose ends and ticks are whole multiples of 1, 2 or 5 times a power of ten; about `count` ticks.

    Heckbert, "Nice numbers for graph labels", Graphics Gems 1990.
    """
    if high <= low:
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
    return Scale(shown[0] / room, shown[-1] * room, ticks, True)


def decades(low: float, high: float) -> Scale:
    """A logarithmic axis from `low` to `high`, shares written as per cent at powers of ten."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    return Scale(low, high, [(10.0**n, f"{100 * 10.0**n:g}%") for n in powers], True)
