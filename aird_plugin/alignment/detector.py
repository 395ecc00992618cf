"""InsightFace's face detectors, from the user's files. Nothing is downloaded.

F = faces of a photo.
"""

from pathlib import Path

import numpy as np

from aird_plugin.alignment.detections import Detections
from aird_plugin.utils.files import file_sha256
from aird_plugin.utils.threads import usable_cores

PATTERNS = ("det_*.onnx", "scrfd_*.onnx")
CPU = "CPUExecutionProvider"
# Of onnxruntime's levels of severity.
ERRORS = 3
ALTERNATIVE = "or give landmarks with --points FILE, which needs no detector"


def find_detector(file: str | None) -> Path:
    """The given file, else the largest detector among InsightFace's models. FileNotFoundError names the searched folder."""
    if file is not None:
        if not Path(file).is_file() or Path(file).suffix != ".onnx":
            raise FileNotFoundError(f"--detector {file}: no such .onnx file")
        return Path(file)
    root = Path("~/.insightface/models").expanduser()
    files = sorted(path for pattern in PATTERNS for path in root.glob(f"*/{pattern}"))
    if not files:
        raise FileNotFoundError(
            f"no face detector under {root} (searched for {' and '.join(f'*/{pattern}' for pattern in PATTERNS)}); unpack an "
            f"InsightFace model pack there (buffalo_l has det_10g.onnx), name a detector with --detector FILE, {ALTERNATIVE}"
        )
    return max(files, key=lambda path: path.stat().st_size)


class Detector:
    """SCRFD or RetinaFace, loaded by `insightface.model_zoo.get_model`.

    side: photos are resized to fit a square of this side; score: detection threshold, 0..1; providers: of onnxruntime. threads:
    of onnxruntime on the CPU, 0 for one per core that this process may use (onnxruntime's own choice leaves a `taskset`).
    Raises ImportError without the extra `insightface`, and ValueError for a file that is no detector with landmarks.
    """

    def __init__(self, file: Path, score: float = 0.5, side: int = 640, providers: tuple[str, ...] = (CPU,), threads: int = 0):
        try:
            import onnxruntime
            from insightface.model_zoo import get_model
        except ImportError as error:
            raise ImportError(f"detecting faces needs `pip install aird_plugin[insightface]`, {ALTERNATIVE}") from error
        self.file = Path(file)
        session = onnxruntime.SessionOptions()
        session.intra_op_num_threads = threads or usable_cores()
        # One session for inputs of all sizes: InsightFace 2 keeps one per size, 60 to 70 MB with SCRFD-500M.
        # InsightFace's files state the output shapes of 640 px, and onnxruntime warns of every output of another size.
        session.log_severity_level = ERRORS
        try:
            self.network = get_model(str(file), providers=list(providers), sess_options=session, static_shape_sessions=False)
        # onnxruntime's errors share no base class.
        except Exception as error:
            raise ValueError(f"{file} is no model that onnxruntime can load: {error}") from error
        if getattr(self.network, "taskname", None) != "detection":
            raise ValueError(f"{file}: InsightFace loads it as {type(self.network).__name__}, not as a face detector")
        if not self.network.use_kps:
            raise ValueError(f"{file} detects boxes without landmarks; use a detector with five landmarks, such as det_10g.onnx")
        self.network.prepare(-1 if providers[0] == CPU else 0, input_size=(side, side), det_thresh=score)
        # A file with a fixed input size overrides input_size.
        self.side = min(self.network.input_size)

    def describe(self) -> str:
        """File name and hash, which must not change between runs."""
        return f"{self.file.name}, sha256 {file_sha256(self.file)[:16]}"

    def find(self, name: str, photo_HWC: np.ndarray) -> Detections:
        """Detect the faces of a photo (uint8, RGB); none where its short side would be resized to less than a pixel."""
        height, width = photo_HWC.shape[:2]
        if min(height, width) * self.side < max(height, width):
            return Detections(np.empty((0, 5, 2)), np.empty(0))
        boxes_F5, points_F52 = self.network.detect(np.ascontiguousarray(photo_HWC[:, :, ::-1]))
        return Detections(points_F52, boxes_F5[:, 4])
