"""A student before one data set of identification: pictures -> embeddings -> one row of numbers a question.

N = pictures, P = probes, G = gallery entries, D = embedding width.
"""

import numpy as np

from aird_plugin.data.degrade import BICUBIC, named
from aird_plugin.data.lowres import FACE_SIDE, check_px
from aird_plugin.data.searches import Picture, Search, fingerprint, read_square
from aird_plugin.evaluation.embed import embed_frozen, embed_sums, normalise
from aird_plugin.evaluation.identification import identify
from aird_plugin.evaluation.pooling import pool_by
from aird_plugin.evaluation.protocol import as_seen, check_question, embed_adapted, input_side

POOLING = ("none", "mean", "quality")
PICTURES_AT_ONCE = 4096


class SearchSession:
    """A student (and a teacher) before one search.

    Pictures are decoded, shrunk and embedded in blocks of 4,096, so that a gallery of any size fits; FaceBN needs all
    faces of a side at once. What a network whose statistics stand still gave is kept, so a session belongs to one state of
    the weights.

    data: what the rows call the data set. The other arguments are those of `protocol.Session`.
    """

    def __init__(self, student, search: Search, data, layout, teacher=None, batch=96, device="cpu"):
        self.networks = {"student": student, "teacher": teacher}
        self.search, self.data, self.layout = search, str(data), layout
        self.batch, self.device = batch, device
        who = np.concatenate([search.gallery_who, search.probe_who])
        self.data_sha256 = fingerprint(search.gallery + search.probes, who)
        self._frozen = {}

    def evaluate(
        self, px, protocol, high_side=None, facebn=None, keep=0.9, order="file", pooling="none", degradation=BICUBIC
    ) -> dict:
        """The JSON row of one question.

        px: side that probes are shrunk to; None takes them as they are.
        protocol: "lr-lr": the gallery like the probes. "lr-hr": the gallery as it is, embedded by `high_side`.
        pooling: "none"; "mean" or "quality" make one embedding of each person's gallery pictures and one of each track's
            probes, distractors apart: the plain mean, or weighted by the length of the un-normalised embedding.
        degradation: how the shrunken faces become low and reach the network; with px None they are low already.

        The other options are those of `protocol.Session`; FaceBN takes probes and gallery in batches of their own. Raises
        ValueError for options that do not exist or do not fit together, and what `identify` and `read_square` raise.
        """
        high_side = check_question(*self.networks.values(), protocol, high_side, facebn, keep)
        if pooling not in POOLING:
            raise ValueError(f"pooling must be one of {', '.join(POOLING)}, got {pooling!r}")
        adapt = None if facebn is None else (facebn, keep, None if order == "file" else order)
        low = check_low(px, degradation)
        probes_ND = self._sums("student", low, "probes", adapt)
        if high_side is None:
            gallery_ND = self._sums("student", low, "gallery", adapt)
        else:
            gallery_ND = self._sums(high_side, None, "gallery", adapt if high_side == "student" else None)
        return {
            "data": self.data,
            "data_sha256": self.data_sha256,
            "layout": self.layout,
            "name": self.search.name,
            "px": px,
            "protocol": protocol,
            "high_side": high_side,
            "facebn": facebn,
            "keep": None if facebn is None else keep,
            "order": order,
            "batch": self.batch,
            "pooling": pooling,
            **identify(*self._pooled(probes_ND, gallery_ND, pooling)),
            "degradation": None if px is None else degradation,
            "resize": named(degradation).version,
        }

    def _sums(self, who, low, part, adapt) -> np.ndarray:
        """e + e_flip of the probes or the gallery, not normalised. low: None, or (px, degradation)."""
        pictures = getattr(self.search, part)
        if adapt is None and (who, low, part) in self._frozen:
            return self._frozen[who, low, part]
        sums_ND = picture_sums(self.networks[who], pictures, low, adapt, self.batch, self.device, f"{who}, {part}")
        if adapt is None:
            self._frozen[who, low, part] = sums_ND
        return sums_ND

    def _pooled(self, probes_ND, gallery_ND, pooling):
        """Embeddings and people of both sides, pooled as asked."""
        probe_who, gallery_who = self.search.probe_who, self.search.gallery_who
        if pooling == "none":
            return normalise(probes_ND), probe_who, normalise(gallery_ND), gallery_who
        if pooling == "mean":
            probes_ND, gallery_ND = normalise(probes_ND), normalise(gallery_ND)
        tracks, first_T = np.unique(self.search.probe_track, return_index=True)
        probes_TD = pool_by(probes_ND, self.search.probe_track)[1]
        # Each distractor is somebody else: a number of its own below 0.
        entry_G = np.where(gallery_who < 0, -1 - np.arange(len(gallery_who)), gallery_who)
        entries, gallery_ED = pool_by(gallery_ND, entry_G)
        return probes_TD, probe_who[first_T], gallery_ED, entries


def check_low(px: int | None, degradation: str = BICUBIC) -> tuple[int, str] | None:
    """(px, degradation), None where faces are taken as they are. ValueError where there is nothing to degrade."""
    named(degradation)
    if px is None and degradation != BICUBIC:
        raise ValueError(f"degradation {degradation} shrinks faces: say with --px to which side")
    return None if px is None else (check_px(px), degradation)


def picture_sums(network, pictures: list[Picture], low, adapt, batch, device, label) -> np.ndarray:
    """e + e_flip of pictures, float32 (N, D), not normalised.

    low: (px, degradation); None takes each picture as it is, resized once to the side that the network takes.
    adapt: None, or FaceBN's (mode, keep, order).
    """
    side = input_side(network)

    def seen(block):
        if low is None:
            return read_square(block, side)
        px, degradation = low
        return as_seen(read_square(block, FACE_SIDE), px, side, degradation)

    blocks = [pictures[n : n + PICTURES_AT_ONCE] for n in range(0, len(pictures), PICTURES_AT_ONCE)]
    if adapt is not None:
        faces_NHWC = np.concatenate([seen(block) for block in blocks])
        return embed_adapted(network, faces_NHWC, *adapt, batch, device, True, label, embed_sums)
    sums = []
    for n, block in enumerate(blocks, 1):
        sum_BD = embed_frozen(network, seen(block), device, True, f"{label} {n} of {len(blocks)}", embed_sums)
        sums.append(sum_BD.astype(np.float32))
    return np.concatenate(sums)
