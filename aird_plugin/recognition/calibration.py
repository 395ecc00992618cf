"""Thresholds for cosines between networks and face sizes: measured on pairs through the very crops of `TinyFaceAnalysis`.

The section "recognition" of a file of thresholds: {"crops", "pairs", "pairs_sha256", "entries"}. An entry is one network
on one protocol, {"network", "other", "protocol", "rows"}: identity hashes; lr-lr: both faces at px by `network`; lr-hr: one face
at px by `network`, one untouched by `other`. A row is that of `export.thresholds`, {"px", "to_px", "points"}.
"""

import math
from typing import NamedTuple

from aird_plugin.evaluation.verification import MIN_FALSE_ACCEPTS

SECTION = "recognition"
# From this px on, a face counts as the untouched one of lr-hr: docs/sizes.md's accuracies no longer change there.
HR_PX = 64
# (network, other, protocol) of an entry.
Key = tuple[str, str, str]
# The false-accept rates at which two networks are compared, the first that was measured.
COMPARED_FARS = (0.01, 0.1)


class Side(NamedTuple):
    """One side of a comparison: the network's identity hash, and px."""

    network: str
    px: float


class Threshold(NamedTuple):
    """A cosine, and the false-accept rate at which it was measured. cosine None: nothing was measured, `reason` says what."""

    cosine: float | None
    far: float | None
    reason: str = ""


class Calibration:
    """The measured thresholds of the networks in use.

    sections: lists of entries, each measured together on the same pairs. Where two have the same networks and protocol, the
    first counts.
    """

    def __init__(self, *sections: list[dict]):
        self.sections = [_by_key(entries) for entries in sections]
        self.rows: dict[Key, list[dict]] = {}
        for section in reversed(self.sections):
            self.rows |= section

    @property
    def fars(self) -> list[float]:
        """The measured false-accept rates, ascending."""
        points = (point for rows in self.rows.values() for row in rows for point in row["points"])
        return sorted({point["far"] for point in points if point["cosine"] is not None})

    def threshold(self, first: Side, second: Side, far: float) -> Threshold:
        """The cosine above which two faces count as one identity at this false-accept rate, per comparison.

        The row is that of the smaller face. Where the larger one has less than 64 px, it is the higher threshold of both
        protocols. A rate between two measured ones takes the stricter.
        """
        small, large = sorted((first, second), key=lambda side: side.px)
        keys = self._protocols(small, large)
        rows = [row for key in keys if (row := self._row(key, small.px))]
        points = [point for row in rows if (point := _point(row, far)) is not None]
        if not points:
            return Threshold(None, None, self._reason(keys, bool(rows), far))
        strictest = max(points, key=lambda point: point["cosine"])
        return Threshold(strictest["cosine"], strictest["far"])

    def crossing(self, small: str, large: str, gallery: str | None = None) -> float | None:
        """The px from which the second network accepts more genuine pairs than the first.

        Both against untouched faces that the network `gallery` embeds, by default the second.

        The middle between two measured px, 0 or infinity where one of them is better at all; None where they were not compared
        on the same pairs.
        """
        keys = [(one, gallery or large, "lr-hr") for one in (small, large)]
        section = next((section for section in self.sections if all(section.get(key) for key in keys)), None)
        if section is None:
            return None
        small_rows, large_rows = (section[key] for key in keys)
        tars = [(row["px"], _tar(row), _tar(other)) for row, other in zip(small_rows, large_rows, strict=True)]
        compared = [(px, one, other) for px, one, other in tars if one is not None and other is not None]
        if not compared:
            return None
        better = [px for px, one, other in compared if one > other]
        if not better:
            return 0.0
        following = [px for px, _, _ in compared if px > better[-1]]
        return (better[-1] + following[0]) / 2 if following else float("inf")

    def _protocols(self, small: Side, large: Side) -> list[Key]:
        lr_lr = (small.network, small.network, "lr-lr")
        lr_hr = (small.network, large.network, "lr-hr")
        return [lr_hr] if large.px >= HR_PX and lr_hr in self.rows else [lr_lr, lr_hr]

    def _reason(self, keys: list[Key], large_enough: bool, far: float) -> str:
        """Why there is no threshold: the same text for all px, so that it is printed once for many tracks."""
        measured = [row["px"] for key in keys for row in self.rows.get(key, [])]
        if not measured:
            return "no threshold was measured for these networks; `aird calibrate` measures them"
        if not large_enough:
            return f"no threshold was measured for faces below {min(measured)} px"
        known = f"measured: {', '.join(f'{one:g}' for one in self.fars) or 'none'}; from {min(measured)} px on"
        return (
            f"no threshold was measured at a false-accept rate of {far:g} or less ({known}); it "
            f"needs {math.ceil(MIN_FALSE_ACCEPTS / far):,} impostor pairs"
        )

    def _row(self, key: Key, px: float) -> dict | None:
        """The row that holds from its px up to the next one's; None below the first."""
        return next((row for row in reversed(self.rows.get(key, [])) if row["px"] <= px), None)


def _by_key(entries: list[dict]) -> dict[Key, list[dict]]:
    """The rows of each entry, by ascending px."""
    return {
        (entry["network"], entry["other"], entry["protocol"]): sorted(entry["rows"], key=lambda row: row["px"])
        for entry in entries
    }


def _point(row: dict, far: float) -> dict | None:
    """The point of the largest measured rate that is at most far."""
    measured = [point for point in row["points"] if point["cosine"] is not None and point["far"] <= far * (1 + 1e-9)]
    return max(measured, key=lambda point: point["far"], default=None)


def _tar(row: dict) -> float | None:
    """The share of genuine pairs accepted at the rate by which networks are compared."""
    by_far = {point["far"]: point["tar"] for point in row["points"]}
    return next((by_far[far] for far in COMPARED_FARS if by_far.get(far) is not None), None)
