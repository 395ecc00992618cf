"""The decision of one search: an identity, "unknown", or none where no threshold was measured."""

from typing import NamedTuple

from aird_plugin.recognition.analysis import TinyFaceAnalysis
from aird_plugin.recognition.calibration import Side
from aird_plugin.recognition.templates import Template

UNKNOWN = "unknown"


class Match(NamedTuple):
    """The result of one search.

    name: an identity, "unknown", or None where there is no decision (`reason`). cosine: of the best candidate. threshold, far:
    those of the decision; the rate is per comparison. candidates: (name, cosine), best first. px, network: of the probe.
    """

    name: str | None
    cosine: float | None
    threshold: float | None
    far: float | None
    reason: str
    candidates: list[tuple[str, float]]
    px: float | None
    network: str | None


NO_FACE = Match(None, None, None, None, "no face with an embedding", [], None, None)


def match_of(
    probe: Template, best: Template | None, candidates: list[tuple[str, float]], far: float, analysis: TinyFaceAnalysis
) -> Match:
    """The match of a probe among its candidates, of which `best` is the first; "unknown" without one.

    far: false-accept rate of one comparison, by the thresholds of `analysis`.
    """
    network = analysis.networks[probe.network].name
    if best is None:
        return Match(UNKNOWN, None, None, None, "", [], probe.px, network)
    name, cosine = candidates[0]
    found = analysis.calibration.threshold(Side(probe.network, probe.px), Side(best.network, best.px), far)
    if found.cosine is None:
        return Match(None, cosine, None, None, found.reason, candidates, probe.px, network)
    return Match(name if cosine > found.cosine else UNKNOWN, cosine, *found, candidates, probe.px, network)
