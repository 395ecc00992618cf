"""Searching faces in a gallery (1:N): embeddings of P probes and G gallery entries -> the numbers of one result row.

P = probes, G = gallery entries, D = embedding width, M = mates of one probe (gallery entries of the same person).
Who is below 0 is nobody: such a gallery entry is a distractor, such a probe has no mate.

Ties count against the probe. Every entry of somebody else that scores as high as the mate, up to 1e-6, stands before it: a
product of the same two vectors differs in its last digits with its place in a matrix product.
"""

from typing import NamedTuple

import numpy as np
import torch

from aird_plugin.evaluation.verification import accept_rate, wilson_interval

RANKS = (1, 5, 20)
FPIRS = (0.3, 0.1, 0.01, 0.001)
DET_FPIRS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
TIE = 1e-6
SCORES_AT_ONCE = 1 << 26


class Found(NamedTuple):
    """What a search gave, a row a probe. Probes without a mate have rank 0, mate -inf and precision 0.

    rank: place of the best mate among everybody else, from 1. mate: cosine of the best mate. top: highest cosine in the
    gallery. precision: average precision over all mates, the mean of j / (place of the j-th mate).
    """

    rank_P: np.ndarray
    mate_P: np.ndarray
    top_P: np.ndarray
    precision_P: np.ndarray


def identify(probes_PD, who_P, gallery_GD, who_G) -> dict:
    """Closed-set and open-set identification figures of L2-normalised embeddings.

    `rank1`, `rank5`, `rank20`: share of the probes with a mate whose best mate is among the first 1, 5, 20 (CMC). `ci95`:
    Wilson's interval of `rank1`. `map`: mean average precision, all mates. All in per cent. `tpir`: share of the mated
    probes whose mate comes first and scores above the threshold at which at most FPIR of the probes without a mate score
    against anybody; `tpir20`: likewise, with the mate among the first 20 (QMUL-SurvFace). `det`: FPIR -> FNIR, which is
    1 - TPIR. These lie in 0..1, and are None where fewer than 10 / FPIR probes have no mate.

    Raises what `search` raises, and ValueError where no probe has a mate.
    """
    found = search(probes_PD, who_P, gallery_GD, who_G)
    mated_P = found.rank_P > 0
    rank, hits = found.rank_P[mated_P], int((found.rank_P == 1).sum())
    if not len(rank):
        raise ValueError(f"none of the {len(mated_P)} probes has a mate in the gallery: there is nothing to find")
    false_alarms = np.sort(-found.top_P[~mated_P])

    def tpir(fpir, within):
        # A mate beyond the rank is never found, whatever the threshold.
        distance = np.where(rank <= within, -found.mate_P[mated_P], np.inf)
        return accept_rate(np.sort(distance), false_alarms, fpir)

    points = {fpir: tpir(fpir, 1) for fpir in DET_FPIRS}
    return {
        "n_probes": len(mated_P),
        "n_mated": len(rank),
        "n_unmated": len(mated_P) - len(rank),
        "n_gallery": len(who_G),
        "n_distractors": int((np.asarray(who_G) < 0).sum()),
        **{f"rank{k}": 100 * float((rank <= k).mean()) for k in RANKS},
        "ci95": [100 * end for end in wilson_interval(hits, len(rank))],
        "map": 100 * float(found.precision_P[mated_P].mean()),
        "tpir": {str(fpir): tpir(fpir, 1) for fpir in FPIRS},
        "tpir20": {str(fpir): tpir(fpir, 20) for fpir in FPIRS},
        "det": {str(fpir): None if rate is None else 1 - rate for fpir, rate in points.items()},
    }


def search(probes_PD, who_P, gallery_GD, who_G) -> Found:
    """Score every probe against the whole gallery, exactly, a block of probes at a time: 256 MiB of scores at most.

    probes_PD, gallery_GD: L2-normalised; who_P, who_G: whole numbers. Raises ValueError for arrays that do not fit each
    other, are not finite or longer than 1, and for an empty side.
    """
    probes_PD, who_P = _checked(probes_PD, who_P, "probe")
    gallery_GD, who_G = _checked(gallery_GD, who_G, "gallery")
    if probes_PD.shape[1] != gallery_GD.shape[1]:
        raise ValueError(
            f"the probes' embeddings are {probes_PD.shape[1]} wide, the gallery's {gallery_GD.shape[1]}: they are compared "
            "directly, so one network must have made both, or a student trained at its teacher's width"
        )
    entries = _entries_by_person(who_G)
    found = Found(np.zeros(len(who_P), int), np.full(len(who_P), -np.inf), np.empty(len(who_P)), np.zeros(len(who_P)))
    block = max(1, SCORES_AT_ONCE // len(who_G))
    scores_BG = torch.empty(min(block, len(who_P)), len(who_G))
    for first in range(0, len(who_P), block):
        part_BD = probes_PD[first : first + block]
        torch.mm(part_BD, gallery_GD.T, out=scores_BG[: len(part_BD)])
        for place, scores_G in enumerate(scores_BG[: len(part_BD)].numpy(), first):
            found.top_P[place] = scores_G.max()
            mates_M = entries.get(int(who_P[place]))
            if mates_M is not None:
                found.mate_P[place] = scores_G[mates_M].max()
                found.rank_P[place], found.precision_P[place] = _rank_and_precision(scores_G, mates_M)
    return found


def _rank_and_precision(scores_G: np.ndarray, mates_M: np.ndarray) -> tuple[int, float]:
    """Place of the best mate among everybody else, and average precision over the mates."""
    ascending_M = np.sort(scores_G[mates_M])
    at_least_M = ascending_M[::-1] - np.float32(TIE)
    everybody_M = np.array([np.count_nonzero(scores_G >= score) for score in at_least_M])
    others_M = everybody_M - (len(mates_M) - np.searchsorted(ascending_M, at_least_M))
    place_M = np.arange(1, len(mates_M) + 1)
    return 1 + int(others_M[0]), float(np.mean(place_M / (place_M + others_M)))


def _entries_by_person(who_G: np.ndarray) -> dict[int, np.ndarray]:
    order = np.argsort(who_G, kind="stable")
    people, first = np.unique(who_G[order], return_index=True)
    parts = np.split(order, first[1:])
    return {person: rows for person, rows in zip(people.tolist(), parts, strict=True) if person >= 0}


def _checked(embeddings_ND, who_N, side: str) -> tuple[torch.Tensor, np.ndarray]:
    """float32 on the CPU, without a copy where it is that already."""
    embeddings_ND = torch.as_tensor(np.ascontiguousarray(embeddings_ND, dtype=np.float32))
    who_N = np.asarray(who_N)
    if embeddings_ND.ndim != 2 or 0 in embeddings_ND.shape:
        raise ValueError(f"{side}: embeddings are an array (N, D) of one row or more, got shape {tuple(embeddings_ND.shape)}")
    if who_N.shape != (len(embeddings_ND),) or not np.issubdtype(who_N.dtype, np.integer):
        raise ValueError(f"{side}: {len(embeddings_ND)} embeddings need a whole number each, got {who_N.dtype} {who_N.shape}")
    length_N = torch.linalg.vector_norm(embeddings_ND, dim=1).numpy()
    # Written so that what is not a number fails too.
    wrong = np.flatnonzero(~(length_N <= 1.001))
    if len(wrong):
        raise ValueError(f"{side}: embedding {wrong[0]} has length {length_N[wrong[0]]:.4g}; L2-normalise the embeddings")
    return embeddings_ND, who_N
