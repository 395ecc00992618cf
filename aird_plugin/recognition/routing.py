"""Which network embeds a face of which px."""

import math
from collections.abc import Mapping

from aird_plugin.recognition.calibration import Calibration
from aird_plugin.recognition.networks import Models, Network

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
    networks, limits = models.networks, {}
    for network, following in zip(networks, networks[1:], strict=False):
        limits[network.name] = float(given.get(network.name, _default(network, following, calibration, following is models.hr)))
    if list(limits.values()) != sorted(limits.values()):
        raise ValueError(f"the limits {limits} do not ascend with the students' input; state them with limits")
    return limits


def _default(network: Network, following: Network, calibration: Calibration, to_hr: bool) -> float:
    """The limit between two networks where none is given."""
    crossing = calibration.crossing(network.identity, following.identity)
    if crossing is not None:
        return crossing
    if to_hr:
        return DEFAULT_LIMIT
    if network.side == following.side:
        raise ValueError(f"{network.name} and {following.name} both take {network.side} px; state their limits, or leave one out")
    return math.sqrt(network.side * following.side)
