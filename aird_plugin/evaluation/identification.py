"""1:N identification: embeddings of P probes and G gallery entries -> the figures of one result row.

P = probes, G = gallery entries, D = embedding width, M = mates of one probe (gallery entries of the same identity).
A label below 0 is no identity: such a gallery entry is a distractor, such a probe is non-mated.

Ties count against the probe. Every entry of another identity whose score equals the mate's, up to 1e-6, ranks before it: the
product of the same two vectors differs in its last digits with its position in a matrix product.
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


class SearchResult(NamedTuple):
    """The scores of a search, one row per probe. Non-mated probes have rank 0, mate -inf and precision 0.

    rank: rank of the best mate among the entries of other identities, from 1. mate: cosine of the best mate. top: highest
    cosine in the gallery. precision: average precision over all mates, the mean of j / (rank of the j-th mate).
    """

    rank_P: np.ndarray
    mate_P: np.ndarray
    top_P: np.ndarray
    precision_P: np.ndarray


def identify(probes_PD, label_P, gallery_GD, label_G) -> dict:
    """Closed-set and open-set identification figures of L2-normalised embeddings.

    `rank1`, `rank5`, `rank20`: share of the mated probes whose best mate is among the first 1, 5, 20 (CMC). `ci95`: Wilson
    interval of `rank1`. `map`: mean average precision over all mates. All in per cent. `tpir`: share of the mated probes whose
    mate ranks first and scores above the threshold that at most FPIR of the non-mated probes exceed with any gallery entry;
    `tpir20`: the same with the mate among the first 20 (QMUL-SurvFace). `det`: FPIR -> FNIR, which is 1 - TPIR. These lie in
    0..1, and are None with fewer than 10 / FPIR non-mated probes.

    Raises what `search` raises, and ValueError if no probe has a mate.
    """
    found = search(probes_PD, label_P, gallery_GD, label_G)
    mated_P = found.rank_P > 0
    rank, hits = found.rank_P[mated_P], int((found.rank_P == 1).sum())
    if not len(rank):
        raise ValueError(f"none of the {len(mated_P)} probes has a mate in the gallery: check the labels of both")
    false_alarms = np.sort(-found.top_P[~mated_P])

    def tpir(fpir, within):
        # A mate beyond the rank is a miss at every threshold.
        distance = np.where(rank <= within, -found.mate_P[mated_P], np.inf)
        return accept_rate(np.sort(distance), false_alarms, fpir)

    points = {fpir: tpir(fpir, 1) for fpir in DET_FPIRS}
    return {
        "n_probes": len(mated_P),
        "n_mated": len(rank),
        "n_unmated": len(mated_P) - len(rank),
        "n_gallery": len(label_G),
        "n_distractors": int((np.asarray(label_G) < 0).sum()),
        **{f"rank{k}": 100 * float((rank <= k).mean()) for k in RANKS},
        "ci95": [100 * end for end in wilson_interval(hits, len(rank))],
        "map": 100 * float(found.precision_P[mated_P].mean()),
        "tpir": {str(fpir): tpir(fpir, 1) for fpir in FPIRS},
        "tpir20": {str(fpir): tpir(fpir, 20) for fpir in FPIRS},
        "det": {str(fpir): None if rate is None else 1 - rate for fpir, rate in points.items()},
    }


def search(probes_PD, label_P, gallery_GD, label_G) -> SearchResult:
    """Score every probe against the whole gallery (exact search) in blocks of probes: at most 256 MiB of scores at a time.

    probes_PD, gallery_GD: L2-normalised; label_P, label_G: integers. Raises ValueError for arrays that do not fit each other,
    vectors that are not finite or longer than 1, and an empty side.
    """
    probes_PD, label_P = _checked(probes_PD, label_P, "probe")
    gallery_GD, label_G = _checked(gallery_GD, label_G, "gallery")
    if probes_PD.shape[1] != gallery_GD.shape[1]:
        raise ValueError(
            f"the probes' embeddings are {probes_PD.shape[1]} wide, the gallery's {gallery_GD.shape[1]}: they are compared "
            "directly; embed both with one network, or with a teacher and a student trained at its width"
        )
    entries = _entries_by_identity(label_G)
    count = len(label_P)
    found = SearchResult(np.zeros(count, int), np.full(count, -np.inf), np.empty(count), np.zeros(count))
    block = max(1, SCORES_AT_ONCE // len(label_G))
    scores_BG = torch.empty(min(block, len(label_P)), len(label_G))
    for first in range(0, len(label_P), block):
        block_BD = probes_PD[first : first + block]
        torch.mm(block_BD, gallery_GD.T, out=scores_BG[: len(block_BD)])
        for row, scores_G in enumerate(scores_BG[: len(block_BD)].numpy(), first):
            found.top_P[row] = scores_G.max()
            mates_M = entries.get(int(label_P[row]))
            if mates_M is not None:
                found.mate_P[row] = scores_G[mates_M].max()
                found.rank_P[row], found.precision_P[row] = _rank_and_precision(scores_G, mates_M)
    return found


def _rank_and_precision(scores_G: np.ndarray, mates_M: np.ndarray) -> tuple[int, float]:
    """Rank of the best mate among the entries of other identities, and average precision over the mates."""
    ascending_M = np.sort(scores_G[mates_M])
    at_least_M = ascending_M[::-1] - np.float32(TIE)
    entries_M = np.array([np.count_nonzero(scores_G >= score) for score in at_least_M])
    others_M = entries_M - (len(mates_M) - np.searchsorted(ascending_M, at_least_M))
    mate_M = np.arange(1, len(mates_M) + 1)
    return 1 + int(others_M[0]), float(np.mean(mate_M / (mate_M + others_M)))


def _entries_by_identity(label_G: np.ndarray) -> dict[int, np.ndarray]:
    """Label -> its rows in the gallery, without those of no identity."""
    order = np.argsort(label_G, kind="stable")
    identities, first = np.unique(label_G[order], return_index=True)
    parts = np.split(order, first[1:])
    return {identity: rows for identity, rows in zip(identities.tolist(), parts, strict=True) if identity >= 0}


def _checked(embeddings_ND, label_N, side: str) -> tuple[torch.Tensor, np.ndarray]:
    """Embeddings as float32 on the CPU, without a copy where possible."""
    embeddings_ND = torch.as_tensor(np.ascontiguousarray(embeddings_ND, dtype=np.float32))
    label_N = np.asarray(label_N)
    if embeddings_ND.ndim != 2 or 0 in embeddings_ND.shape:
        raise ValueError(f"{side}: embeddings must be an array (N, D) of one row or more, got shape {tuple(embeddings_ND.shape)}")
    if label_N.shape != (len(embeddings_ND),) or not np.issubdtype(label_N.dtype, np.integer):
        raise ValueError(f"{side}: {len(embeddings_ND)} embeddings need integer labels (N,), got {label_N.dtype} {label_N.shape}")
    length_N = torch.linalg.vector_norm(embeddings_ND, dim=1).numpy()
    if len(wrong := np.flatnonzero(~np.isfinite(length_N))):
        raise ValueError(f"{side}: embedding {wrong[0]} is not finite ({len(wrong)} of {len(length_N)} in all)")
    if len(wrong := np.flatnonzero(length_N > 1.001)):
        raise ValueError(f"{side}: embedding {wrong[0]} has length {length_N[wrong[0]]:.4g}; L2-normalise the embeddings")
    return embeddings_ND, label_N
