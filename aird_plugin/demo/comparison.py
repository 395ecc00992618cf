"""Compare two faces at px: the input of each network, its cosine similarity, and the decision at each threshold.

H = W = 112, S = side of a network's input, D = embedding width.
"""

from typing import NamedTuple

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import downsample
from aird_plugin.data.lowres import check_px
from aird_plugin.evaluation.embed import embed
from aird_plugin.evaluation.sides import as_network_input, input_side


class Network(NamedTuple):
    """A network and its thresholds, a table of `export.thresholds`, or None where none were measured."""

    name: str
    model: object
    thresholds: dict | None


class ModelResult(NamedTuple):
    """The result of one network on two faces.

    inputs_2SSC: the network's inputs, uint8. cosine: of the two embeddings, without horizontal flips, as in InsightFace's
    `get_feat`. decisions: one per false-accept rate, {"far", "n_impostor", "threshold", "above"}; the last two are None where
    there were too few impostor pairs.
    row_px: the smallest px of the row of thresholds in use. reason: why there are no decisions, else "".
    """

    name: str
    inputs_2SSC: np.ndarray
    cosine: float
    decisions: list[dict]
    row_px: int | None
    reason: str


class Comparison(NamedTuple):
    """low_2SSC: the downsampled images, uint8. px: the smallest of the requested and both original px; selects the thresholds."""

    low_2SSC: np.ndarray
    px: float
    results: list[ModelResult]


def compare_faces(
    networks: list[Network], images_2HWC: np.ndarray, own_px_2: list[float], px: int, degradation: str, device="cpu"
) -> Comparison:
    """Downsample both images to px and compute their cosine similarity with each network.

    images_2HWC: uint8 RGB (2, 112, 112, 3), aligned. own_px_2: side of each face in pixels of the original image; a face of
    20 px counts as 20 px at px=112. degradation: a name of data/degradation.py. device: device of the networks.
    Raises ValueError for an unknown degradation, a px outside 4..112, images of another shape, or a non-finite embedding.
    """
    if images_2HWC.shape != (2, FACE_SIDE, FACE_SIDE, 3):
        raise ValueError(f"got images of shape {images_2HWC.shape}; give two aligned faces of {FACE_SIDE} px")
    effective_px = min(check_px(px), *own_px_2)
    results = []
    for network in networks:
        inputs_2SSC = as_network_input(images_2HWC, px, input_side(network.model), degradation)
        first_D, second_D = embed(network.model, inputs_2SSC, device=device, flip=False)
        cosine = float(first_D @ second_D)
        if not np.isfinite(cosine):
            raise ValueError(f"{network.name}: its embedding is not finite; the weights are broken, use another checkpoint")
        decisions = decide(network.thresholds, cosine, effective_px, degradation)
        results.append(ModelResult(network.name, inputs_2SSC, cosine, *decisions))
    return Comparison(downsample(images_2HWC, px, degradation), effective_px, results)


def decide(table: dict | None, cosine: float, px: float, degradation: str) -> tuple[list[dict], int | None, str]:
    """Compare a cosine with the thresholds for px. Returns the fields (decisions, row_px, reason) of `ModelResult`."""
    if table is None:
        return [], None, "no thresholds were measured for this network"
    if degradation != table["degradation"]:
        return [], None, f"the thresholds hold for {table['degradation']} only"
    rows = [row for row in table["rows"] if row["px"] <= px]
    if not rows:
        smallest = min(row["px"] for row in table["rows"])
        return [], None, f"no thresholds were measured below {smallest} px"
    row = max(rows, key=lambda row: row["px"])
    decisions = [
        {"far": point["far"], "n_impostor": point["n_impostor"], "threshold": point["cosine"], "above": _above(cosine, point)}
        for point in row["points"]
    ]
    return decisions, row["px"], ""


def _above(cosine: float, point: dict) -> bool | None:
    """Whether a cosine is above a point's threshold; None where too few impostors gave one."""
    return None if point["cosine"] is None else cosine > point["cosine"]
