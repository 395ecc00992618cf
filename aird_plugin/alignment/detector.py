"""InsightFace's own face detectors, where a user has them. Nothing is ever downloaded.

F = faces of a photo.
"""

import hashlib
from pathlib import Path

import numpy as np

from aird_plugin.alignment.found import Found

PATTERNS = ("det_*.onnx", "scrfd_*.onnx")
OTHERWISE = "or give landmarks with --points FILE, which needs no detector"


def find_detector(file: str | None) -> Path:
    """The file asked for, else the largest detector among InsightFace's models. FileNotFoundError saying where it looked."""
    if file is not None:
        if not Path(file).is_file() or Path(file).suffix != ".onnx":
            raise FileNotFoundError(f"--detector {file}: no such .onnx file")
        return Path(file)
    root = Path("~/.insightface/models").expanduser()
    files = sorted(path for pattern in PATTERNS for path in root.glob(f"*/{pattern}"))
    if not files:
        raise FileNotFoundError(
            f"no face detector under {root} (looked for {' and '.join(f'*/{pattern}' for pattern in PATTERNS)}); unpack a model "
            f"pack of InsightFace's there (buffalo_l has det_10g.onnx), name one with --detector FILE, {OTHERWISE}"
        )
    return max(files, key=lambda path: path.stat().st_size)


class Detector:
    """SCRFD or RetinaFace as `insightface.model_zoo.get_model` loads it, on the CPU.

    side: photos are shrunk or grown to fit a square of this side; score: 0..1, what counts as a face.
    Raises ImportError without the extra `insightface`, ValueError for a file that is no detector with landmarks.
    """

    def __init__(self, file: Path, score: float = 0.5, side: int = 640):
        try:
            from insightface.model_zoo import get_model
        except ImportError as error:
            raise ImportError(f"finding faces needs `pip install aird_plugin[insightface]`, {OTHERWISE}") from error
        self.file = Path(file)
        try:
            self.network = get_model(str(file), providers=["CPUExecutionProvider"])
        # onnxruntime's errors have no base class in common with anything.
        except Exception as error:
            raise ValueError(f"{file} is no model that onnxruntime reads: {error}") from error
        if getattr(self.network, "taskname", None) != "detection":
            raise ValueError(f"{file}: InsightFace takes it for {type(self.network).__name__}, not for a face detector")
        if not self.network.use_kps:
            raise ValueError(f"{file} finds boxes without landmarks; take a detector of five points, such as det_10g.onnx")
        self.network.prepare(-1, input_size=(side, side), det_thresh=score)
        # Some files have a size of their own, and keep to it.
        self.side = min(self.network.input_size)

    def describe(self) -> str:
        """What a resumed run must find unchanged."""
        return f"{self.file.name}, sha256 {hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]}"

    def find(self, name: str, photo_HWC: np.ndarray) -> Found:
        """The faces of a photo (uint8, RGB); none where it is so narrow that it would shrink to nothing."""
        height, width = photo_HWC.shape[:2]
        if min(height, width) * self.side < max(height, width):
            return Found(np.empty((0, 5, 2)), np.empty(0))
        boxes_F5, points_F52 = self.network.detect(np.ascontiguousarray(photo_HWC[:, :, ::-1]))
        return Found(points_F52, boxes_F5[:, 4])
