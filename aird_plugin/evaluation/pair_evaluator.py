"""LR-LR and LR-HR verification of a student on a file of image pairs: one row of figures per `EvalSpec`.

N = pairs, 2N = their images, side by side, U = distinct images, M = requested images, D = embedding width.
"""

import copy
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, get_degradation
from aird_plugin.data.lowres import check_px
from aird_plugin.data.pairs import read_pairs, sized_faces
from aird_plugin.evaluation.copies import warning_of_pairs
from aird_plugin.evaluation.degraded_faces import DegradedFaces
from aird_plugin.evaluation.embed import embed_frozen
from aird_plugin.evaluation.equal_embeddings import warning_of_equal_pairs
from aird_plugin.evaluation.eval_spec import TRAINING, Adaptation, EvalSpec
from aird_plugin.evaluation.sides import center, check_eval_spec, embed_adapted, input_side
from aird_plugin.evaluation.verification import verify
from aird_plugin.models.training_means import TrainingMeans
from aird_plugin.utils.files import file_sha256
from aird_plugin.utils.vectors import normalise


def evaluate(
    student, pairs_file: str | Path, px: int, protocol: str, high_side=None, teacher=None, batch=96, device="cpu", **options
) -> dict:
    """The JSON row of one evaluation; a `PairEvaluator`, which takes and raises the same, gives several rows of one file.

    px: side of the LR images in pixels; 112: no downsampling. protocol: "lr-lr" or "lr-hr". high_side: "student" or "teacher"
    embeds the HR images of "lr-hr"; None for the student if it takes 112 px images, else the teacher. options: further fields
    of `EvalSpec`. The row's accuracies are in per cent, `auc` and `tar` in 0..1.
    """
    spec = EvalSpec(px, protocol, high_side, **options)
    return PairEvaluator(student, pairs_file, teacher, batch, device).evaluate(spec)


class PairEvaluator:
    """Evaluates a student (and a teacher) on one file of pairs.

    Each distinct image is decoded once and held once, as uint8 (LFW's 12,000 images are 7,701 distinct ones); the network inputs
    are made batch by batch. The embeddings of a network with frozen statistics are computed once for each image and px, so an
    evaluator belongs to one state of the weights.

    `evaluate`, `setting` and `embeddings` take an `EvalSpec`, or its fields: `evaluate(16, "lr-lr", facebn="full", keep=0.1)`.

    student, teacher: nn.Module, or an object with `embed(images) -> (N, D)` such as a Teacher.
    batch: images per batch under FaceBN, with both flips of each; without FaceBN no result depends on the batch.
    device: the device of an nn.Module.
    flip: False leaves the mirrored image out of the embedding.
    means: the student's training means, for centre="training".

    Raises FileNotFoundError, and ValueError for a file that is no list of pairs or holds an unreadable image.
    """

    def __init__(
        self,
        student,
        pairs_file: str | Path,
        teacher=None,
        batch: int = 96,
        device="cpu",
        flip: bool = True,
        means: TrainingMeans | None = None,
    ):
        self.networks, self.means = {"student": student, "teacher": teacher}, means
        self.pairs_file, self.batch, self.device, self.flip = str(pairs_file), batch, device, flip
        pairs = read_pairs(pairs_file)
        self.same_N, self.pairs_sha256 = pairs.same, file_sha256(pairs_file)
        try:
            self.images_UHWC, self.face_2N, self.side_U = sized_faces(pairs)
        except ValueError as error:
            raise ValueError(f"{pairs_file}: {error}") from error
        self._frozen: dict[tuple[str, int, str, bool], dict[int, np.ndarray]] = {}
        # The teacher's, of every evaluator that `with_student` makes. Its centered embeddings depend on the student's run.
        self._of_teacher: dict[tuple[str, int, str, bool], dict[int, np.ndarray]] = {}

    def copies(self) -> str:
        """A warning where over 0.5% of the pairs show one image twice, by bytes, grey levels or known embeddings; else ""."""
        if self._copied_images:
            return self._copied_images
        known_embeddings = self._frozen | self._of_teacher
        whole = {key[1]: known for key, known in known_embeddings.items() if len(known) == len(self.images_UHWC)}
        if not whole:
            return ""
        embeddings_2ND = np.stack([whole[max(whole)][face] for face in self.face_2N.tolist()])
        return warning_of_equal_pairs(self.pairs_file, embeddings_2ND, self.face_2N, self.same_N)

    @cached_property
    def _copied_images(self) -> str:
        """What the images alone show. An evaluator that `with_student` makes later does not compute it again."""
        return warning_of_pairs(self.pairs_file, self.images_UHWC, self.face_2N, self.same_N)

    def upsampled(self, specs: Iterable[Any]) -> str:
        """A warning where an evaluation takes images at more pixels than they have in the file; else "".

        specs: `EvalSpec`s, or other objects with `px` and `protocol`.
        """
        px = max((FACE_SIDE if spec.protocol == "lr-hr" else spec.px or FACE_SIDE for spec in specs), default=0)
        small = int((self.side_U < px).sum())
        if not small:
            return ""
        return (
            f"{small:,} of the {len(self.side_U):,} images of {self.pairs_file} have fewer than {px} px, the smallest "
            f"{self.side_U.min()}: they were upsampled, so that the figures of larger px are not those of such images"
        )

    def with_student(self, student, means: TrainingMeans | None = None) -> "PairEvaluator":
        """An evaluator of another student that shares the decoded images and the teacher's embeddings."""
        other = copy.copy(self)
        other.networks, other.means = self.networks | {"student": student}, means
        other._frozen = {}
        return other

    def evaluate(self, *given, **fields) -> dict:
        """The JSON row of one evaluation.

        Raises ValueError for values that do not exist or do not fit together, and what `verify` and `FaceBN` raise.
        """
        spec = EvalSpec.of(*given, **fields)
        setting, embeddings_2ND = self.setting(spec), self.embeddings(spec)
        try:
            return {**setting, **verify(embeddings_2ND, self.same_N)}
        except ValueError as error:
            raise ValueError(f"{self.pairs_file}: {error}") from error

    def setting(self, *given, **fields) -> dict:
        """The settings part of a row, without the figures. Takes and raises what `evaluate` does."""
        spec = EvalSpec.of(*given, **fields)
        return {
            "pairs": self.pairs_file,
            "pairs_sha256": self.pairs_sha256,
            "px": check_px(spec.px),
            "protocol": spec.protocol,
            "high_side": check_eval_spec(self.networks["student"], self.networks["teacher"], spec),
            "facebn": spec.facebn,
            "keep": None if spec.facebn is None else spec.keep,
            "include_bn1d": spec.include_bn1d,
            "order": spec.order,
            "batch": self.batch,
            "centre": spec.centre,
            "degradation": spec.degradation,
            "resize": get_degradation(spec.degradation).version,
        }

    def embeddings(self, *given, **fields) -> np.ndarray:
        """The embeddings behind a row, (2N, D), pair by pair. Takes and raises what `evaluate` does."""
        spec = EvalSpec.of(*given, **fields)
        px, _, order = check_px(spec.px), get_degradation(spec.degradation), spec.order
        high_side = check_eval_spec(self.networks["student"], self.networks["teacher"], spec)
        if not (order == "file" or isinstance(order, int) and not isinstance(order, bool) and order >= 0):
            raise ValueError(f"order must be 'file' or a seed of 0 or more, got {order!r}")
        centered = spec.centre == TRAINING
        if spec.protocol == "lr-lr":
            sides = [self._embed("student", px, spec.degradation, self.face_2N, spec.adaptation, centered)]
        else:
            lr_ND = self._embed("student", px, spec.degradation, self.face_2N[0::2], spec.adaptation, centered)
            hr_adaptation = spec.adaptation if high_side == "student" else None
            sides = [lr_ND, self._embed(high_side, FACE_SIDE, BICUBIC, self.face_2N[1::2], hr_adaptation, centered)]
        if spec.centre is True:
            sides = [normalise(e_ND - e_ND.mean(axis=0)) for e_ND in sides]
        return _interleave(sides)

    def _embed(
        self, role: str, px: int, degradation: str, face_M: np.ndarray, adaptation: Adaptation | None, centered: bool
    ) -> np.ndarray:
        """Embeddings (M, D) of the images `face_M` at `px` by the network of this role, "student" or "teacher"."""
        network, label = self.networks[role], f"{role}, {px} px"
        side = input_side(network)
        network = center(network, role, self.means) if centered else network
        if adaptation is not None:
            images = DegradedFaces(self.images_UHWC, face_M, px, side, degradation)
            return embed_adapted(network, images, adaptation, self.batch, self.device, label, flip=self.flip)
        store = self._of_teacher if role == "teacher" and not centered else self._frozen
        known = store.setdefault((role, px, degradation, centered), {})
        missing = [face for face in np.unique(face_M).tolist() if face not in known]
        if missing:
            images = DegradedFaces(self.images_UHWC, np.array(missing), px, side, degradation)
            e_MD = embed_frozen(network, images, self.device, flip=self.flip, label=label)
            known.update(zip(missing, e_MD, strict=True))
        return np.stack([known[face] for face in face_M.tolist()])


def _interleave(sides: list[np.ndarray]) -> np.ndarray:
    """[(2N, D)] as it is, [(N, D), (N, D)] pair by pair -> (2N, D)."""
    if len(sides) == 1:
        return sides[0]
    lr_ND, hr_ND = sides
    if lr_ND.shape != hr_ND.shape:
        raise ValueError(
            f"the student's embeddings are {lr_ND.shape[1]} wide, the teacher's {hr_ND.shape[1]}: lr-hr "
            "compares them directly; use a student trained at the teacher's width"
        )
    return np.stack(sides, axis=1).reshape(-1, lr_ND.shape[1])
