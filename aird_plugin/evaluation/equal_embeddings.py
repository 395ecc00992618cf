"""Finds test images of different bytes that a network embeds in one point: copies that grey levels do not show.

Such are copies that differ outside the part of the image that a network sees (a frame, a border), and copies under another
identity. N = pairs, P = probes, G = gallery entries, D = embedding width.
"""

import numpy as np

from aird_plugin.data.identification import IdentificationSet
from aird_plugin.evaluation.copies import BLOCK, MAX_COPIES
from aird_plugin.utils.vectors import normalise

# The squared length of a unit vector rounded to float32 is wrong by at most 2**-23, and an image's place in a batch changes its
# embedding by about 1e-6, the cosine by its square. Other photos of LFW (view 1) and CFP stay 3e-3 below 1, also at 8 px.
EQUAL_COSINE = 1 - 1e-6
# float32's error of a scalar product of long vectors; what is above is computed again in float64.
NEARLY = 1 - 1e-4
SAMPLE = 512


def warning_of_equal_pairs(name: str, embeddings_2ND: np.ndarray, face_2N: np.ndarray, same_N: np.ndarray) -> str:
    """What is wrong with pairs of which more than 0.5% are two files with one embedding; "" for all others.

    "" also for a network that embeds images of other pairs in the same point (a collapsed one): it cannot show copies.
    """
    first_ND, second_ND = (normalise(embeddings_2ND[side::2].astype(np.float64)) for side in (0, 1))
    equal_N = ((first_ND * second_ND).sum(1) > EQUAL_COSINE) & (face_2N[0::2] != face_2N[1::2])
    places = np.flatnonzero(equal_N)
    if len(places) <= MAX_COPIES * len(same_N):
        return ""
    some = places[:: -(-len(places) // SAMPLE)]
    other_SS = face_2N[0::2][some][:, None] != face_2N[0::2][some]
    if ((first_ND[some] @ first_ND[some].T > EQUAL_COSINE) & other_SS).sum() > len(some):
        return ""
    return (
        f"{int(equal_N[same_N].sum())} of {int(same_N.sum())} genuine and {int(equal_N[~same_N].sum())} of "
        f"{int((~same_N).sum())} impostor pairs of {name} are two files with the same embedding (the first is pair {places[0]}): "
        "the figures measure copies, not faces"
    )


def warning_of_equal_probes(data: IdentificationSet, probes_PD: np.ndarray, gallery_GD: np.ndarray) -> str:
    """What is wrong with an identification set where more than 0.5% of the probes have the embedding of a gallery image; else "".

    "" also for a network that embeds many gallery images in the same point as a probe (a collapsed one).
    """
    probes_PD, gallery_GD = (normalise(part.astype(np.float64)) for part in (probes_PD, gallery_GD))
    narrow_GD = gallery_GD.astype(np.float32)
    found: list[tuple[int, int]] = []
    for start in range(0, len(probes_PD), BLOCK // 8):
        block_BD = probes_PD[start : start + BLOCK // 8]
        row_K, entry_K = np.nonzero(block_BD.astype(np.float32) @ narrow_GD.T > NEARLY)
        if len(row_K) > SAMPLE * len(block_BD):
            return ""
        equal_K = (block_BD[row_K] * gallery_GD[entry_K]).sum(1) > EQUAL_COSINE
        found += zip((start + row_K[equal_K]).tolist(), entry_K[equal_K].tolist(), strict=True)
    copied = {probe for probe, _ in found}
    if len(copied) <= MAX_COPIES * len(probes_PD) or len(found) > 2 * len(copied):
        return ""
    others = len({probe for probe, entry in found if data.probe_labels[probe] != data.gallery_labels[entry]})
    probe, entry = found[0]
    return (
        f"{len(copied)} of {len(probes_PD)} probes have the embedding of a gallery image, {others} of them of another identity's "
        f"(the first: {data.probes[probe].where} of {data.gallery[entry].where}): the figures measure copies, not faces"
    )
