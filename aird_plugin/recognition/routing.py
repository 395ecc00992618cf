"""The network that embeds a face, by its px."""

import math
from collections.abc import Mapping, Sequence

from aird_plugin.recognition.calibration import Calibration
from aird_plugin.recognition.network import Network
from aird_plugin.recognition.networks import Models

# Between a native 16 px student and its teacher, where nothing was measured (docs/sizes.md: they cross between 24 and 32 px).
DEFAULT_LIMIT = 28.0


def find_limits(models: Models, calibration: Calibration, given: Mapping[str, float] | None = None) -> dict[str, float]:
    """Network's name -> px below which it embeds a face, ascending; the last network has no limit. Sorts the students by it.

    A given limit comes first, then the px at which the calibration of two networks crosses, then a default. Raises ValueError
    for the name of no student, a limit that is no positive number, and students of one side without limits.
    """
    given = dict(given or {})
    names = [student.name for student in models.students]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"limits name {', '.join(unknown)}; the students are {', '.join(names) or 'none'}")
    for name, px in given.items():
        if isinstance(px, bool) or not isinstance(px, int | float) or not px >= 0:
            raise ValueError(f"the limit of {name} is a px of 0 or more, got {px!r}")
    models.students.sort(key=lambda student: (given.get(student.name, student.side), student.side))
    networks = models.networks
    limits: dict[str, float] = {}
    for number in reversed(range(len(networks) - 1)):
        name, larger = networks[number].name, networks[number + 1 :]
        crossing = _crossing(networks[number], larger, calibration)
        if crossing is not None and name not in given:
            # A larger student that is nowhere better than the networks on both sides of it embeds no face.
            limits = {other: px if other in given else max(px, crossing) for other, px in limits.items()}
        default = crossing if crossing is not None else _default(networks[number], larger, limits, larger[0] is models.hr)
        limits[name] = float(given.get(name, default))
    limits = dict(reversed(limits.items()))
    if list(limits.values()) != sorted(limits.values()):
        raise ValueError(
            f"the limits {limits} do not ascend with the students' input; state them with limits (--limit STUDENT=PX)"
        )
    return limits


def describe_sizes(networks: Sequence[Network], limits: Mapping[str, float]) -> list[str]:
    """For each network, ascending, the px that it embeds: `below 24 px`, `from 24 to 60 px`, `all sizes` or `unused`."""
    texts, low = [], 0.0
    for network in networks:
        high = limits.get(network.name, math.inf)
        if high <= low:
            texts.append("unused")
        elif high == math.inf:
            texts.append(f"from {low:.3g} px" if low else "all sizes")
        else:
            texts.append(f"from {low:.3g} to {high:.3g} px" if low else f"below {high:.3g} px")
        low = max(low, high)
    return texts


def _crossing(network: Network, larger: list[Network], calibration: Calibration) -> float | None:
    """The px from which one of the larger networks was measured to be better; None where not all were compared."""
    crossings = [calibration.crossing(network.identity, other.identity, larger[-1].identity) for other in larger]
    measured = [px for px in crossings if px is not None]
    return min(measured) if len(measured) == len(larger) else None


def _default(network: Network, larger: list[Network], limits: Mapping[str, float], to_hr: bool) -> float:
    """The limit between a network and the next larger one where none is given or measured; at most the limit of that one."""
    if to_hr:
        return DEFAULT_LIMIT
    following = larger[0]
    if network.side == following.side:
        raise ValueError(f"{network.name} and {following.name} both take {network.side} px; state their limits, or leave one out")
    limit = limits.get(following.name, math.inf)
    return min(math.sqrt(network.side * min(following.side, limit)), limit)
