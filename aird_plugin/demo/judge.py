"""Two faces at px -> what each network sees of them, how alike it finds them, and on which side of its thresholds that is.

H = W = 112, S = side of a network's input, D = embedding width.
"""

from typing import NamedTuple

import numpy as np

from aird_plugin.data.degrade import shrink
from aird_plugin.data.lowres import FACE_SIDE, check_px
from aird_plugin.evaluation.embed import embed
from aird_plugin.evaluation.protocol import as_seen, input_side


class Network(NamedTuple):
    """A network with its thresholds, a table as `export.thresholds` makes it, or None where nobody measured them."""

    name: str
    model: object
    thresholds: dict | None


class Sight(NamedTuple):
    """What one network makes of two faces.

    seen_2SSC: its very inputs, uint8. cosine: of its two embeddings, without mirrored faces, as InsightFace's `get_feat` has it.
    verdicts: one for each false-accept rate, {"far", "n_impostor", "threshold", "above"}; the last two None where so many
    impostor pairs were too few.
    row_px: the smallest px of the thresholds' row. why: why there are no verdicts, else "".
    """

    name: str
    seen_2SSC: np.ndarray
    cosine: float
    verdicts: list[dict]
    row_px: int | None
    why: str


class Judgement(NamedTuple):
    """low_2SSC: the px faces, uint8. px: that of the thresholds, the smallest of the px asked for and the faces' own."""

    low_2SSC: np.ndarray
    px: float
    sights: list[Sight]


def judge(
    networks: list[Network], faces_2HWC: np.ndarray, own_px_2: list[float], px: int, degradation: str, device="cpu"
) -> Judgement:
    """Shrink both faces to px and ask each network.

    faces_2HWC: uint8 RGB (2, 112, 112, 3), aligned. own_px_2: how many pixels of its picture a side of each face really had; a
    face of 20 px stays one at px=112. degradation: a name of data/degrade.py. device: where the networks lie.
    Raises ValueError for another degradation, a px outside 4..112, faces of another shape, or an embedding that is not finite.
    """
    if faces_2HWC.shape != (2, FACE_SIDE, FACE_SIDE, 3):
        raise ValueError(f"two aligned faces of {FACE_SIDE} px are compared; got an array of {faces_2HWC.shape}")
    real_px = min(check_px(px), *own_px_2)
    sights = []
    for network in networks:
        seen_2SSC = as_seen(faces_2HWC, px, input_side(network.model), degradation)
        first_D, second_D = embed(network.model, seen_2SSC, device=device, flip=False)
        cosine = float(first_D @ second_D)
        if not np.isfinite(cosine):
            raise ValueError(f"{network.name}: its embedding is not finite, so there is no cosine; the weights are broken")
        sights.append(Sight(network.name, seen_2SSC, cosine, *verdicts(network.thresholds, cosine, real_px, degradation)))
    return Judgement(shrink(faces_2HWC, px, degradation), real_px, sights)


def verdicts(table: dict | None, cosine: float, px: float, degradation: str) -> tuple[list[dict], int | None, str]:
    """A cosine against the row that holds for px: (verdicts, the row's px, why there are none), as `Sight` has them."""
    if table is None:
        return [], None, "no thresholds were measured for it"
    if degradation != table["degradation"]:
        return [], None, f"its thresholds hold for {table['degradation']} alone"
    rows = [row for row in table["rows"] if row["px"] <= px]
    if not rows:
        smallest = min(row["px"] for row in table["rows"])
        return [], None, f"nothing was measured below {smallest} px"
    row = max(rows, key=lambda row: row["px"])
    told = [
        {"far": point["far"], "n_impostor": point["n_impostor"], "threshold": point["cosine"], "above": _above(cosine, point)}
        for point in row["points"]
    ]
    return told, row["px"], ""


def _above(cosine: float, point: dict) -> bool | None:
    return None if point["cosine"] is None else cosine > point["cosine"]
