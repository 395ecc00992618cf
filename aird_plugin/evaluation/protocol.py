"""LR-LR and LR-HR verification of a student on a file of face pairs: one row of numbers a question.

N = pairs, 2N = their faces, side by side, U = distinct faces, M = faces asked for, D = embedding width.
"""

import copy

import numpy as np
import torch
from torch import nn

from aird_plugin.data.degrade import BICUBIC, arrive, named, shrink
from aird_plugin.data.lowres import FACE_SIDE, check_px
from aird_plugin.data.pairs import distinct_faces, read_pairs
from aird_plugin.evaluation.embed import embed, embed_frozen, eval_mode, network_inputs, normalise
from aird_plugin.evaluation.seen import SeenFaces
from aird_plugin.evaluation.verification import verify
from aird_plugin.models.facebn import FaceBN
from aird_plugin.models.teacher import file_sha256

PROTOCOLS = ("lr-lr", "lr-hr")
HIGH_SIDES = ("student", "teacher")


def evaluate(
    student, pairs_file, px, protocol, high_side=None, teacher=None, batch=96, device="cpu", **options
) -> dict:
    """The row of one question. A `Session` takes the same options and answers several for less work."""
    return Session(student, pairs_file, teacher, batch, device).evaluate(px, protocol, high_side, **options)


class Session:
    """A student (and a teacher) before one file of pairs.

    Each distinct image is decoded once and held once, as uint8 (LFW's 12,000 faces are 7,701 images), and what a
    network sees of it is made batch by batch. Embeddings of a network whose statistics stand still are computed
    once for each image and px, so a session belongs to one state of the weights.

    student, teacher: nn.Module, or an object with `embed(faces) -> (N, D)` such as a Teacher.
    batch: faces in a batch, with both flips of each, under FaceBN; without it no answer depends on the batch.
    flip: False leaves the mirrored face out of the embedding.

    Raises FileNotFoundError, and ValueError for a file that is no list of pairs or holds an unreadable image.
    """

    def __init__(self, student, pairs_file, teacher=None, batch=96, device="cpu", flip=True):
        self.networks = {"student": student, "teacher": teacher}
        self.pairs_file, self.batch, self.device, self.flip = str(pairs_file), batch, device, flip
        pairs = read_pairs(pairs_file)
        self.same_N, self.pairs_sha256 = pairs.same, file_sha256(pairs_file)
        try:
            self.faces_UHWC, self.face_2N = distinct_faces(pairs)
        except ValueError as error:
            raise ValueError(f"{pairs_file}: {error}") from error
        self._frozen = {}

    def with_student(self, student) -> "Session":
        """A session of another student that shares the decoded faces and the teacher's embeddings."""
        other = copy.copy(self)
        other.networks = self.networks | {"student": student}
        other._frozen = {key: known for key, known in self._frozen.items() if key[0] == "teacher"}
        return other

    def evaluate(
        self, px, protocol, high_side=None, facebn=None, keep=0.9, order="file", centre=False, degradation=BICUBIC
    ) -> dict:
        """The JSON row of one question.

        px: side of the shrunken face; 112 leaves the face untouched. A network of 112 px gets it grown back
            to 112. A native student gets the px x px face itself, or, where px is not its own side, that face
            resized once more to its side.
        protocol: "lr-lr": both faces of a pair low. "lr-hr": the first face low, the second one high.
        high_side: who embeds the high faces of lr-hr; by default the student where it takes 112 px, else
            the teacher.
        facebn: None or a mode of `FaceBN`, with `keep`. It adapts the student alone, low and high faces in
            batches and contexts of their own; the teacher is never adapted. "full" adapts to the very faces
            that are tested.
        order: "file" or a seed, the order in which faces enter the batches.
        centre: the control without which FaceBN gets undue credit: from each L2-normalised embedding the mean
            of its side is subtracted (one mean in lr-lr, one for each side in lr-hr), and the result
            normalised again. No BatchNorm is touched.
        degradation: how faces become low and reach the network, a name of data/degrade.py.

        Raises ValueError for options that do not exist or do not fit together, and what `verify` and `FaceBN`
        raise.
        """
        question = (px, protocol, high_side, facebn, keep, order, centre, degradation)
        return {**self.setting(*question), **verify(self.embeddings(*question), self.same_N)}

    def setting(
        self, px, protocol, high_side=None, facebn=None, keep=0.9, order="file", centre=False, degradation=BICUBIC
    ) -> dict:
        """What a row says of its question, without its answer. Takes and raises what `evaluate` does."""
        return {
            "pairs": self.pairs_file,
            "pairs_sha256": self.pairs_sha256,
            "px": check_px(px),
            "protocol": protocol,
            "high_side": check_question(*self.networks.values(), protocol, high_side, facebn, keep),
            "facebn": facebn,
            "keep": None if facebn is None else keep,
            "order": order,
            "batch": self.batch,
            "centre": centre,
            "degradation": degradation,
            "resize": named(degradation).version,
        }

    def embeddings(
        self, px, protocol, high_side=None, facebn=None, keep=0.9, order="file", centre=False, degradation=BICUBIC
    ) -> np.ndarray:
        """The embeddings behind a row, (2N, D), pair by pair. Takes and raises what `evaluate` does."""
        px, _ = check_px(px), named(degradation)
        high_side = check_question(*self.networks.values(), protocol, high_side, facebn, keep)
        if not (order == "file" or isinstance(order, int) and not isinstance(order, bool) and order >= 0):
            raise ValueError(f"order must be 'file' or a seed of 0 or more, got {order!r}")
        adapt = None if facebn is None else (facebn, keep, None if order == "file" else order)
        if protocol == "lr-lr":
            sides = [self._embed("student", px, degradation, self.face_2N, adapt)]
        else:
            low_ND = self._embed("student", px, degradation, self.face_2N[0::2], adapt)
            high_adapt = adapt if high_side == "student" else None
            sides = [low_ND, self._embed(high_side, FACE_SIDE, BICUBIC, self.face_2N[1::2], high_adapt)]
        if centre:
            sides = [normalise(e_ND - e_ND.mean(axis=0)) for e_ND in sides]
        return _interleave(sides)

    def _embed(self, who, px, degradation, face_M, adapt) -> np.ndarray:
        """Embeddings of the faces `face_M` at `px`; `adapt` is None or FaceBN's (mode, keep, order)."""
        network, label = self.networks[who], f"{who}, {px} px"
        side = input_side(network)
        if adapt is not None:
            faces = SeenFaces(self.faces_UHWC, face_M, px, side, degradation)
            return embed_adapted(network, faces, *adapt, self.batch, self.device, self.flip, label)
        known = self._frozen.setdefault((who, px, degradation), {})
        missing = [face for face in np.unique(face_M).tolist() if face not in known]
        if missing:
            faces = SeenFaces(self.faces_UHWC, np.array(missing), px, side, degradation)
            e_MD = embed_frozen(network, faces, self.device, self.flip, label)
            known.update(zip(missing, e_MD, strict=True))
        return np.stack([known[face] for face in face_M.tolist()])


def check_question(student, teacher, protocol, high_side=None, facebn=None, keep=0.9) -> str | None:
    """Who embeds the high side (None in lr-lr). Raises ValueError where these networks cannot answer."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if high_side not in (None, *HIGH_SIDES):
        raise ValueError(f"high_side must be one of {', '.join(HIGH_SIDES)}, got {high_side!r}")
    if facebn is not None:
        if not isinstance(student, nn.Module):
            raise ValueError("FaceBN adapts BatchNorm in PyTorch; an .onnx has none left: give the .pt")
        FaceBN(student, keep, facebn)
    if protocol == "lr-lr":
        return None
    side = input_side(student)
    high_side = high_side or ("student" if side == FACE_SIDE else "teacher")
    if high_side == "teacher" and teacher is None:
        why = f" (the default for a student of {side} px)" if side != FACE_SIDE else ""
        raise ValueError(f"lr-hr with the teacher on the high side{why} needs a teacher: name its file")
    return high_side


def input_side(network) -> int:
    """Side in pixels of the faces a network takes; a teacher takes 112."""
    return getattr(network, "input_size", FACE_SIDE)


def as_seen(faces_NHWC: np.ndarray, px: int, side: int, degradation: str = BICUBIC) -> np.ndarray:
    """112 px faces -> faces of `px` as a network of `side` sees them; px 112 shrinks nothing.

    A network of 112 px gets the face shrunken to px and grown back. A native one gets the shrunken face
    itself and, where px is not its own side, that face resized once more to its side.
    """
    return arrive(shrink(faces_NHWC, px, degradation), side, degradation)


def embed_adapted(
    student, faces_NHWC, mode, keep, order, batch, device, flip, label, how=embed
) -> np.ndarray:
    """`how` (`embed` or `embed_sums`) under FaceBN; "full" first takes the statistics of all faces in one pass."""
    with FaceBN(student, keep, mode) as bn:
        if mode == "full":
            with eval_mode(student), torch.inference_mode():
                inputs = network_inputs(faces_NHWC, batch, order, device, flip, f"{label}, FaceBN statistics")
                bn.adapt(x_B3SS for _, x_B3SS in inputs)
        return how(student, faces_NHWC, batch, order, device, flip, f"{label}, FaceBN {mode}")


def _interleave(sides) -> np.ndarray:
    """[(2N, D)] as it is, [(N, D), (N, D)] pair by pair -> (2N, D)."""
    if len(sides) == 1:
        return sides[0]
    low_ND, high_ND = sides
    if low_ND.shape != high_ND.shape:
        raise ValueError(
            f"the student's embeddings are {low_ND.shape[1]} wide, the teacher's {high_ND.shape[1]}: lr-hr "
            "compares them directly, so the student must have been trained at the teacher's width"
        )
    return np.stack(sides, axis=1).reshape(-1, low_ND.shape[1])
