"""`TinyFaceAnalysis`: InsightFace's `FaceAnalysis` for frames with small faces, with a recogniser for each face size."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aird_plugin.alignment.detector import CPU, Detector, find_detector
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.recognition.calibration import Calibration
from aird_plugin.recognition.calibration_files import find_sections
from aird_plugin.recognition.crops import face_crops, face_sizes
from aird_plugin.recognition.model_files import DETECTION, RECOGNITION, find_sources
from aird_plugin.recognition.network import Network
from aird_plugin.recognition.networks import CUDA, open_models
from aird_plugin.recognition.routing import find_limits

# The coarsest stride of InsightFace's detectors; their input must be a multiple.
STRIDE = 32
# By default a frame is detected at its own size, since shrinking it shrinks its small faces; within these limits of its longer
# side. Enlarging a small frame helps: of six faces of 12 px SCRFD-500M finds three at the frame's own size, and six at 640 px.
MIN_DETECTION_SIDE, MAX_DETECTION_SIDE = 640, 1920


class TinyFaceAnalysis:
    """Detect the faces of a frame, and embed each by the network for its size.

    name: an InsightFace pack below root/models, a folder (a pack, or an export of `aird export`), or several folders and .onnx
        files: a detector, the HR recogniser, students. Without a detector among them the largest in ~/.insightface is used.
    allowed_modules: as in InsightFace, the tasks whose models are opened: "detection" and perhaps "recognition"; all others are
        never opened. None for both.
    providers: of onnxruntime, the CPU's or CUDA's; None for the CPU.
    limits: student's name -> px below which it embeds a face; larger faces go to the HR recogniser. By default the px at which
        the measurements cross, else 28 (docs/recognise.md).
    thresholds: a file of `aird calibrate`. By default those beside the models, and those of the exports.
    inputs: network's name -> how it is fed, such as {"color": "bgr"}, where its file's rules do not find out (docs/teacher.md).

    All networks must embed into the same coordinates. Raises FileNotFoundError (nothing is downloaded), and ValueError for
    networks that do not belong together, thresholds of other networks, unknown limits, no detection, or other providers.
    """

    def __init__(
        self,
        name: str | Path | Sequence[str | Path] = "buffalo_l",
        root: str | Path = "~/.insightface",
        allowed_modules: Sequence[str] | None = None,
        *,
        providers: Sequence[str] | None = None,
        limits: Mapping[str, float] | None = None,
        thresholds: str | Path | None = None,
        inputs: Mapping[str, Any] | None = None,
    ):
        self.providers = tuple(providers or (CPU,))
        if set(self.providers) - {CPU, CUDA}:
            raise ValueError(f"providers must be among {CPU} and {CUDA}, got {', '.join(map(str, self.providers))}")
        allowed = (DETECTION, RECOGNITION) if allowed_modules is None else allowed_modules
        if DETECTION not in allowed:
            raise ValueError(f"allowed_modules must have {DETECTION!r}, got {allowed_modules!r}")
        device = "cuda" if self.providers[0] == CUDA else "cpu"
        self.models = open_models(find_sources(name, root), device, inputs, RECOGNITION in allowed)
        sections = find_sections(self.models.networks, thresholds)
        self.calibration = Calibration(*(section["entries"] for section in sections))
        self.limits = find_limits(self.models, self.calibration, limits)
        self.detector: Detector | None = None
        self.det_size: Any = None

    @property
    def networks(self) -> dict[str, Network]:
        """Identity hash -> network."""
        return {network.identity: network for network in self.models.networks}

    @property
    def dim(self) -> int:
        """Width D of the embeddings. Raises ValueError where no recogniser was opened."""
        if not self.models.networks:
            raise ValueError(f"no recogniser was opened: allowed_modules has no {RECOGNITION!r}")
        return self.models.networks[0].model.dim

    def prepare(self, ctx_id: int = 0, det_thresh: float = 0.5, det_size: Any = None) -> None:
        """Open the detector. ctx_id below 0: run everything on the CPU.

        det_size: (width, height) that frames are resized to fit, or a list of them, as in InsightFace; None for the frame's own
        size, with a longer side of 640 to 1,920 px.

        Raises FileNotFoundError where there is no detector, and ValueError for other sizes.
        """
        providers = (CPU,) if ctx_id < 0 else self.providers
        if ctx_id < 0:
            for network in self.models.networks:
                network.model.session.set_providers([CPU])
        self.detector = Detector(self.models.detector or _installed_detector(), det_thresh, providers=providers)
        self.det_size = None if det_size is None else _sizes(det_size)

    def get(self, img: np.ndarray, max_num: int = 0, det_metric: str = "default") -> list:
        """The faces of a frame, uint8 (H, W, 3) BGR, as InsightFace `Face` objects, in the detector's order.

        Fields: bbox, kps, det_score, embedding (D,) and normed_embedding as in InsightFace; px: pixels of the frame along a side
        of the aligned crop; embedded_by: the network's name, network_id its hash; quality: weight in a template, 0..1.
        A face whose landmarks are no face has px nan and no embedding. max_num, det_metric: as in InsightFace.
        """
        return self.get_many([img], max_num, det_metric)[0]

    def get_many(self, imgs: Sequence[np.ndarray], max_num: int = 0, det_metric: str = "default") -> list[list]:
        """`get` for several frames, in one call of each network."""
        faces = [self.detect(img, max_num, det_metric) for img in imgs]
        self.embed(imgs, faces)
        return faces

    def detect(self, img: np.ndarray, max_num: int = 0, det_metric: str = "default") -> list:
        """The faces of a frame without embeddings. Raises ValueError for what is no frame."""
        from insightface.app.common import Face

        _check_frame(img)
        if min(img.shape[:2]) * STRIDE < max(img.shape[:2]):
            # Resized to fit the detector, such a strip would have no height.
            return []
        if self.detector is None:
            self.prepare()
        assert self.detector is not None
        size = self.det_size or own_size(img)
        boxes_F5, points_F52 = self.detector.network.detect(img, input_size=size, max_num=max_num, metric=det_metric)
        return [Face(bbox=box[:4], kps=kps, det_score=box[4]) for box, kps in zip(boxes_F5, points_F52, strict=True)]

    def embed(self, imgs: Sequence[np.ndarray], faces: Sequence[Sequence[Any]]) -> None:
        """Set px, embedding, embedded_by, network_id and quality of faces (each with `kps`), which belong to these frames."""
        placed = [(img, face) for img, found in zip(imgs, faces, strict=True) for face in found]
        matrices_F23, px_F = face_sizes(np.array([face.kps for _, face in placed]).reshape(-1, 5, 2))
        usable_F, route_F = np.isfinite(px_F), self.route(px_F)
        for (_, face), px, usable in zip(placed, px_F.tolist(), usable_F.tolist(), strict=True):
            face.px, face.quality = px, min(px, FACE_SIDE) / FACE_SIDE if usable else 0.0
        for number, network in enumerate(self.models.networks):
            rows = np.flatnonzero(usable_F & (route_F == number))
            if not len(rows):
                continue
            crops = []
            for start, stop in _runs([id(placed[row][0]) for row in rows]):
                own = rows[start:stop]
                crops.append(face_crops(placed[own[0]][0], matrices_F23[own], px_F[own], network.side))
            embeddings_FD = network.embed(np.concatenate(crops))
            for row, embedding_D in zip(rows, embeddings_FD, strict=True):
                face = placed[row][1]
                face.embedding, face.embedded_by, face.network_id = embedding_D, network.name, network.identity

    def route(self, px_F: np.ndarray) -> np.ndarray:
        """The number in `models.networks` of the network for each px: the first with a limit above it, else the last."""
        numbers = np.searchsorted(list(self.limits.values()), np.nan_to_num(px_F), side="right")
        return np.minimum(numbers, len(self.models.networks) - 1)


def _installed_detector() -> Path:
    """The largest detector below ~/.insightface/models. FileNotFoundError where there is none."""
    try:
        return find_detector(None)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            "no face detector among the models, nor below ~/.insightface/models; add one, such as det_10g.onnx of buffalo_l, "
            "to the models, or to the folder of the pack"
        ) from error


def own_size(img: np.ndarray) -> tuple[int, int]:
    """(width, height) of the detector's input for a frame at its own size, enlarged or shrunk to the limits."""
    height, width = img.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, MIN_DETECTION_SIDE), MAX_DETECTION_SIDE) / longer
    return tuple(max(STRIDE, -(-round(side * scale) // STRIDE) * STRIDE) for side in (width, height))


def _sizes(det_size: Any) -> Any:
    """det_size where every side is a multiple of the detector's stride; ValueError else."""
    sides = np.asarray(det_size)
    if sides.shape[-1:] != (2,) or not np.issubdtype(sides.dtype, np.integer) or (sides % STRIDE).any() or (sides <= 0).any():
        raise ValueError(f"det_size is (width, height), or a list of them, multiples of {STRIDE}; got {det_size!r}")
    return det_size


def _check_frame(img: np.ndarray) -> None:
    if not isinstance(img, np.ndarray) or img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3 or not img.size:
        what = f"{img.dtype} {img.shape}" if isinstance(img, np.ndarray) else type(img).__name__
        raise ValueError(f"a frame is uint8 (H, W, 3), BGR as cv2.imread returns it; got {what}")


def _runs(keys: list) -> list[tuple[int, int]]:
    """(start, stop) of each run of equal keys."""
    starts = [index for index, key in enumerate(keys) if not index or key != keys[index - 1]]
    return list(zip(starts, [*starts[1:], len(keys)], strict=True))
