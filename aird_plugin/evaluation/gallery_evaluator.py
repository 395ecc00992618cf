"""1:N identification of a student on one identification set: image files -> embeddings -> one row of figures per `EvalSpec`.

N = images, P = probes, G = gallery entries, T = tracks, E = pooled gallery entries, D = embedding width.
"""

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.degradation import BICUBIC, get_degradation
from aird_plugin.data.identification import IdentificationSet, ImageFile, fingerprint, read_square
from aird_plugin.data.lowres import check_px
from aird_plugin.evaluation.copies import warning_of_probes
from aird_plugin.evaluation.embed import embed_frozen, embed_sums
from aird_plugin.evaluation.equal_embeddings import warning_of_equal_probes
from aird_plugin.evaluation.eval_spec import TRAINING, Adaptation, EvalSpec
from aird_plugin.evaluation.identification import identify
from aird_plugin.evaluation.pooling import pool_by
from aird_plugin.evaluation.sides import as_network_input, center, check_eval_spec, embed_adapted, input_side
from aird_plugin.models.training_means import TrainingMeans
from aird_plugin.utils.vectors import normalise

POOLING = ("none", "mean", "quality")
IMAGES_AT_ONCE = 4096
# A centered output is c(x) = f(x) / |f(x)| - mean: its length is the distance to the mean, whatever |f(x)| was.
NO_LENGTHS = (
    "pooling by quality weights a crop by the length of its embedding, which centering by the training mean replaces: pool by "
    "'mean', or leave out the centering"
)
# In rows of results, where images were left out.
UNREADABLE_KEY = "unreadable_images"


class GalleryEvaluator:
    """Evaluates a student (and a teacher) on one identification set.

    Images are decoded, downsampled and embedded in blocks of 4,096, so that a gallery of any size fits; FaceBN needs all images
    of a side at once. The embeddings of a network with frozen statistics are kept, so an evaluator belongs to one state of the
    weights.

    data: the name of the data set in the rows. The other arguments are those of `PairEvaluator`.
    """

    def __init__(
        self,
        student,
        identification_set: IdentificationSet,
        data,
        layout: str,
        teacher=None,
        batch: int = 96,
        device="cpu",
        means: TrainingMeans | None = None,
    ):
        self.networks, self.means = {"student": student, "teacher": teacher}, means
        self.identification_set, self.data, self.layout = identification_set, str(data), layout
        self.batch, self.device = batch, device
        label_N = np.concatenate([identification_set.gallery_labels, identification_set.probe_labels])
        self.data_sha256 = fingerprint(identification_set.gallery + identification_set.probes, label_N)
        self._frozen: dict[tuple[str, tuple[int, str] | None, str, bool], np.ndarray] = {}

    def evaluate(self, *given, pooling: str = "none", **fields) -> dict:
        """The JSON row of one evaluation. Takes an `EvalSpec`, or its fields, as `PairEvaluator.evaluate` does.

        px: side of the downsampled images; None takes them as they are.
        protocol: "lr-lr" treats the gallery like the probes; "lr-hr" takes it as it is, embedded by `high_side`.
        pooling: "none"; "mean" or "quality" pool the gallery images of each identity and the probes of each track into one
            embedding, the plain mean or weighted by the length of the un-normalised embedding. Distractors are not pooled.

        FaceBN takes probes and gallery in batches of their own. Raises ValueError for values that do not exist or do not fit
        together, and what `identify` and `read_square` raise.
        """
        spec = EvalSpec.of(*given, **fields)
        high_side = check_eval_spec(self.networks["student"], self.networks["teacher"], spec)
        if spec.centre is True:
            raise ValueError("the test images' own mean is for pairs only; an identification is centered by centre='training'")
        check_pooling(pooling, spec)
        downsampling = check_downsampling(spec.px, spec.degradation)
        centered = spec.centre == TRAINING
        probes_PD = self._sums("student", downsampling, "probes", spec.adaptation, centered)
        if high_side is None:
            gallery_GD = self._sums("student", downsampling, "gallery", spec.adaptation, centered)
        else:
            adaptation = spec.adaptation if high_side == "student" else None
            gallery_GD = self._sums(high_side, None, "gallery", adaptation, centered)
        return {
            **self._setting(spec, high_side),
            "pooling": pooling,
            **identify(*self._pooled(probes_PD, gallery_GD, pooling)),
            "degradation": None if spec.px is None else spec.degradation,
            "resize": get_degradation(spec.degradation).version,
            **({UNREADABLE_KEY: count} if (count := self.identification_set.unreadable) else {}),
        }

    def _setting(self, spec: EvalSpec, high_side: str | None) -> dict:
        """The first keys of a row: the data and how both sides are embedded."""
        return {
            "data": self.data,
            "data_sha256": self.data_sha256,
            "layout": self.layout,
            "name": self.identification_set.name,
            "px": spec.px,
            "protocol": spec.protocol,
            "high_side": high_side,
            "facebn": spec.facebn,
            "keep": None if spec.facebn is None else spec.keep,
            "include_bn1d": spec.include_bn1d,
            "order": spec.order,
            "batch": self.batch,
            "centre": spec.centre,
        }

    def copies(self) -> str:
        """A warning where more than 0.5% of the probes are copies of gallery images; else "".

        By the images, mated probes alone (`warning_of_probes`), or by equal embeddings, of those that are known.
        """
        if text := warning_of_probes(self.identification_set):
            return text
        both = [key for key in self._frozen if key[2] == "probes" and (*key[:2], "gallery", key[3]) in self._frozen]
        if not both:
            return ""
        # None, images as they are, is the largest.
        role, low, _, centered = max(both, key=lambda key: (key[1] is None, key[1] or (0, "")))
        sides = (self._frozen[role, low, part, centered] for part in ("probes", "gallery"))
        return warning_of_equal_probes(self.identification_set, *sides)

    def _sums(
        self, role: str, downsampling: tuple[int, str] | None, part: str, adaptation: Adaptation | None, centered: bool
    ) -> np.ndarray:
        """e + e_flip of the "probes" or the "gallery", not normalised, by the network of this role. Frozen results are kept."""
        key = (role, downsampling, part, centered)
        if adaptation is None and key in self._frozen:
            return self._frozen[key]
        images, label = getattr(self.identification_set, part), f"{role}, {part}"
        network = center(self.networks[role], role, self.means) if centered else self.networks[role]
        sums_ND = image_sums(network, images, downsampling, adaptation, self.batch, self.device, label)
        if adaptation is None:
            self._frozen[key] = sums_ND
        return sums_ND

    def _pooled(self, probes_PD: np.ndarray, gallery_GD: np.ndarray, pooling: str) -> tuple:
        """Embeddings and labels of probes and gallery, pooled."""
        label_P, label_G = self.identification_set.probe_labels, self.identification_set.gallery_labels
        if pooling == "none":
            return normalise(probes_PD), label_P, normalise(gallery_GD), label_G
        if pooling == "mean":
            probes_PD, gallery_GD = normalise(probes_PD), normalise(gallery_GD)
        track_P = self.identification_set.probe_track
        _, first_T = np.unique(track_P, return_index=True)
        _, probes_TD = pool_by(probes_PD, track_P)
        # Each distractor is an identity of its own: it gets its own number below 0.
        entry_G = np.where(label_G < 0, -1 - np.arange(len(label_G)), label_G)
        label_E, gallery_ED = pool_by(gallery_GD, entry_G)
        return probes_TD, label_P[first_T], gallery_ED, label_E


def check_pooling(pooling: str, spec: EvalSpec) -> None:
    """Raise ValueError for a pooling that does not exist, and for one by lengths that the centering replaces."""
    if pooling not in POOLING:
        raise ValueError(f"pooling must be one of {', '.join(POOLING)}, got {pooling!r}")
    if pooling == "quality" and spec.centre == TRAINING:
        raise ValueError(NO_LENGTHS)


def check_downsampling(px: int | None, degradation: str = BICUBIC) -> tuple[int, str] | None:
    """(px, degradation), None where images are taken as they are. ValueError for a degradation without a px."""
    get_degradation(degradation)
    if px is None and degradation != BICUBIC:
        raise ValueError(f"degradation {degradation} downsamples images: set the side with --px")
    return None if px is None else (check_px(px), degradation)


def image_sums(
    network, images: list[ImageFile], downsampling: tuple[int, str] | None, adaptation: Adaptation | None, batch, device, label
) -> np.ndarray:
    """e + e_flip of image files, float32 (N, D), not normalised.

    downsampling: (px, degradation); None takes each image as it is, resized once to the network's input side.
    adaptation: FaceBN's settings, None for frozen statistics.
    """
    side = input_side(network)

    def read_inputs(block: list[ImageFile]) -> np.ndarray:
        if downsampling is None:
            return read_square(block, side)
        px, degradation = downsampling
        return as_network_input(read_square(block, FACE_SIDE), px, side, degradation)

    blocks = [images[n : n + IMAGES_AT_ONCE] for n in range(0, len(images), IMAGES_AT_ONCE)]
    if adaptation is not None:
        images_NHWC = np.concatenate([read_inputs(block) for block in blocks])
        return embed_adapted(network, images_NHWC, adaptation, batch, device, label, embed_fn=embed_sums)
    sums = []
    for n, block in enumerate(blocks, 1):
        sum_BD = embed_frozen(network, read_inputs(block), device, label=f"{label} {n} of {len(blocks)}", embed_fn=embed_sums)
        sums.append(sum_BD.astype(np.float32))
    return np.concatenate(sums)
