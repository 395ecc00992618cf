"""Every file is run back before anyone gets it: through onnxruntime, and as InsightFace itself runs it.

N = faces, S = side of the file's input, D = embedding width.
"""

from pathlib import Path

import numpy as np

from aird_plugin.data.bank_build import decode_face
from aird_plugin.data.faces import open_records
from aird_plugin.data.lowres import FACE_SIDE, low_faces
from aird_plugin.data.pairs import pair_faces, read_pairs
from aird_plugin.models.onnx_teacher import OnnxTeacher

LEAST_COSINE = 0.9999


def sample_faces(path: str, count: int) -> np.ndarray:
    """Up to `count` faces of a .bin, a record file or a folder of people, spread over it. uint8 (N, 112, 112, 3)."""
    if Path(path).suffix == ".bin":
        pairs = read_pairs(path)
        chosen = np.linspace(0, len(pairs.same) - 1, min(len(pairs.same), -(-count // 2)), dtype=int)
        images = [image for pair in chosen for image in pairs.images[2 * pair : 2 * pair + 2]]
        return pair_faces(pairs._replace(images=images, same=pairs.same[chosen]))[:count]
    records = open_records(path)
    rows = np.linspace(0, len(records) - 1, min(len(records), count), dtype=int)
    return np.stack([decode_face(records, int(row)) for row in rows])


def seen_by(side: int, faces_NHWC: np.ndarray) -> np.ndarray:
    """112 px faces as a network or file of this side takes them: those of px faces get the shrunken one."""
    return faces_NHWC if side == FACE_SIDE else low_faces(faces_NHWC, side, grow=False)


def compare_onnxruntime(file: Path, faces_NSSC: np.ndarray, expected_ND: np.ndarray, least: float = LEAST_COSINE) -> float:
    """Least cosine between the file's embeddings, in batches of one, three and all, and the expected ones.

    Raises ValueError below `least`: the file is not what was trained.
    """
    network = OnnxTeacher(file)
    if network.fixed_batch is not None:
        raise ValueError(f"{file} takes batches of {network.fixed_batch} alone; a batch of any size was exported")
    sizes = [count for count in (1, 3, len(faces_NSSC)) if count <= len(faces_NSSC)]
    worst = min(least_cosine(network.embed(faces_NSSC[:count]), expected_ND[:count]) for count in sizes)
    return refuse_below(least, worst, f"{file} in onnxruntime")


def compare_insightface(file: Path, faces_NSSC: np.ndarray, expected_ND: np.ndarray, manifest: bool = False) -> float | None:
    """The same through `insightface.model_zoo.get_model(...).get_feat`; None where InsightFace is not installed.

    manifest: load the file's folder by its manifest V2 (InsightFace 2.1), as a file of px faces needs.
    Raises ValueError where InsightFace does not take the file for a recogniser, or its embeddings differ.
    """
    try:
        from insightface.model_zoo import get_model
    except ImportError:
        return None
    if manifest:
        model = get_model(str(file.parent), model_task="recognition", providers=["CPUExecutionProvider"])
    else:
        model = get_model(str(file), providers=["CPUExecutionProvider"])
    if model is None or getattr(model, "taskname", None) != "recognition":
        raise ValueError(f"{file}: InsightFace takes it for {type(model).__name__}, not for a recogniser")
    # It takes BGR, as OpenCV reads.
    features_ND = model.get_feat([np.ascontiguousarray(face[:, :, ::-1]) for face in faces_NSSC])
    return refuse_below(LEAST_COSINE, least_cosine(features_ND, expected_ND), f"{file} in InsightFace")


def least_cosine(one_ND: np.ndarray, other_ND: np.ndarray) -> float:
    """The least cosine between rows of the same number. 0 where an embedding is not finite."""
    one_ND, other_ND = np.asarray(one_ND, np.float64), np.asarray(other_ND, np.float64)
    lengths_N = np.linalg.norm(one_ND, axis=1) * np.linalg.norm(other_ND, axis=1)
    cosine_N = np.nan_to_num((one_ND * other_ND).sum(1) / np.maximum(lengths_N, 1e-12), nan=0.0)
    return float(cosine_N.min())


def refuse_below(least: float, cosine: float, what: str) -> float:
    """The cosine itself, or ValueError."""
    if not cosine >= least:
        raise ValueError(
            f"{what} gives other embeddings than the student: least cosine {cosine:.6f}, wanted {least}; nothing was exported"
        )
    return cosine
