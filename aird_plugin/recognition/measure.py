"""Measure the thresholds of networks on a file of pairs, through the crops of `TinyFaceAnalysis`.

U = distinct images, N = pairs, D = embedding width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aird_plugin.alignment.crop import template
from aird_plugin.data.blocks import blocks_of
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.images import resized
from aird_plugin.data.pairs import distinct_faces, read_pairs
from aird_plugin.evaluation.verification import operating_points
from aird_plugin.recognition.crops import CROPS, face_crops, face_sizes
from aird_plugin.recognition.network import Network
from aird_plugin.utils.files import file_sha256
from aird_plugin.utils.progress import progress
from aird_plugin.utils.vectors import normalise

SIDES = (12, 16, 24, 32, 48, 64)
BLOCK = 64
# Faces in a frame do not begin on whole pixels: the 112 px image is shifted by whole pixels before it is downsampled.
SEED = 0


def measure(networks: Sequence[Network], pairs_file: str | Path, sides: tuple[int, ...] = SIDES) -> dict:
    """The section of `recognition/calibration.py` for these networks, of which the last embeds the untouched faces.

    Each image is downsampled to px by the reference resize from a random position between pixels, and
    cropped from there as from a frame. A row is measured at its smallest px. Raises what `read_pairs` raises.
    """
    pairs = read_pairs(pairs_file)
    try:
        images_UHWC, face_2N = distinct_faces(pairs)
    except ValueError as error:
        raise ValueError(f"{pairs_file}: {error}") from error
    hr = networks[-1]
    hr_UD = embed_at(hr, images_UHWC, FACE_SIDE)
    entries = []
    for network in networks:
        rows: dict[str, list[dict]] = {"lr-lr": [], "lr-hr": []}
        for px, following in zip(sides, [*sides[1:], None], strict=True):
            e_2ND = embed_at(network, images_UHWC, px)[face_2N]
            for protocol in rows:
                if protocol == "lr-hr":
                    e_2ND[1::2] = hr_UD[face_2N[1::2]]
                points = operating_points(e_2ND, pairs.same)
                rows[protocol].append({"px": px, "to_px": following and following - 1, "points": points})
        others = {"lr-lr": network.identity, "lr-hr": hr.identity}
        entries += [
            {"network": network.identity, "other": others[protocol], "protocol": protocol, "rows": rows[protocol]}
            for protocol in rows
        ]
    return {"crops": CROPS, "pairs": Path(pairs_file).name, "pairs_sha256": file_sha256(pairs_file), "entries": entries}


def embed_at(network: Network, images_UHWC: np.ndarray, px: int) -> np.ndarray:
    """L2-normalised embeddings (U, D) of 112 px RGB images as faces of px in frames."""
    rng = np.random.default_rng(SEED)
    parts = []
    for block in progress(blocks_of(range(len(images_UHWC)), BLOCK), len(images_UHWC), f"{network.name}, {px} px", "images"):
        crops = [crop_at(image, px, network.side, rng) for image in images_UHWC[block.start : block.stop]]
        parts.append(network.embed(np.concatenate(crops)))
    return normalise(np.concatenate(parts))


def crop_at(image_HWC: np.ndarray, px: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """The network input (1, S, S, 3) of an aligned 112 px RGB image as a face of px in a frame; 112 leaves it untouched."""
    frame_HWC, points_52 = frame_of(image_HWC, px, rng)
    matrices_123, px_1 = face_sizes(points_52[None])
    return face_crops(frame_HWC[..., ::-1], matrices_123, px_1, side)


def frame_of(image_HWC: np.ndarray, px: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A frame that shows an aligned 112 px image as a face of px, and its landmarks (5, 2). The rim repeats the image's edge."""
    if px == FACE_SIDE:
        return image_HWC, template()
    # The frame has a border of an eighth on each side, and the face lies up to half a pixel of the frame off its middle.
    border, step = FACE_SIDE // 8, FACE_SIDE // (2 * px)
    dx, dy = rng.integers(-step, step + 1, 2) if step else (0, 0)
    padding = ((border + dy, border - dy), (border + dx, border - dx), (0, 0))
    wide_HWC = np.pad(image_HWC, padding, "edge")
    wide_side = FACE_SIDE + 2 * border
    side = round(px * wide_side / FACE_SIDE)
    scale = side / wide_side
    small_HWC = resized(wide_HWC, side)
    return small_HWC, (template() + (border + dx, border + dy) + 0.5) * scale - 0.5
