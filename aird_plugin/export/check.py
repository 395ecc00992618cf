"""Verification of an exported file: its embeddings in onnxruntime and in InsightFace against those of the student.

N = images, S = side of the file's input, D = embedding width.
"""

from pathlib import Path

import numpy as np

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.image_files import first_names
from aird_plugin.data.lowres import low_faces
from aird_plugin.data.pairs import pair_faces, read_pairs
from aird_plugin.data.records import decode_face, open_records
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.utils.warning import warn

MIN_COSINE = 0.9999
# Why a file was not compared with InsightFace.
NOT_INSTALLED, FED_OTHERWISE = "InsightFace is not installed", "InsightFace feeds it another way"


def sample_faces(path: str | list[str], count: int) -> np.ndarray:
    """Up to `count` images of a .bin, a training set or several, evenly spaced. uint8 (N, 112, 112, 3).

    Unreadable training images are left out with a warning on stderr. Raises ValueError where all of the sample are unreadable.
    """
    if isinstance(path, str) and Path(path).suffix == ".bin":
        pairs = read_pairs(path)
        chosen = np.linspace(0, len(pairs.same) - 1, min(len(pairs.same), -(-count // 2)), dtype=int)
        images = [image for pair in chosen for image in pairs.images[2 * pair : 2 * pair + 2]]
        return pair_faces(pairs._replace(images=images, same=pairs.same[chosen]))[:count]
    records = open_records(path)
    rows = np.linspace(0, len(records) - 1, min(len(records), count), dtype=int)
    images, problems = [], []
    for row in rows:
        try:
            images.append(decode_face(records, int(row)))
        except ValueError as error:
            problems.append(str(error))
    if not images:
        raise ValueError(problems[0])
    if problems:
        warn(f"{len(problems)} of {len(rows)} sampled images left out: {first_names(problems)}")
    return np.stack(images)


def resize_to_side(side: int, images_NHWC: np.ndarray) -> np.ndarray:
    """112 px images at the input side of a network or file: unchanged for 112, else downsampled by the reference resize."""
    return images_NHWC if side == FACE_SIDE else low_faces(images_NHWC, side, grow=False)


def compare_onnxruntime(network: OnnxTeacher, images_NSSC: np.ndarray, expected_ND: np.ndarray, any_batch: bool = True) -> float:
    """Minimum cosine between a file's embeddings, in batches of one, three and all, and the expected ones.

    any_batch: the file must take every batch size. Raises ValueError where it does not, and for a cosine below `MIN_COSINE`.
    """
    if any_batch and network.fixed_batch is not None:
        raise ValueError(f"{network.path} has a fixed batch size of {network.fixed_batch}; expected a dynamic one")
    sizes = [count for count in (1, 3, len(images_NSSC)) if count <= len(images_NSSC)]
    cosine = min(minimum_cosine(network.embed(images_NSSC[:count]), expected_ND[:count]) for count in sizes)
    return _require(cosine, f"{network.path} in onnxruntime")


def compare_insightface(
    network: OnnxTeacher, images_NSSC: np.ndarray, expected_ND: np.ndarray, manifest: bool = False
) -> float | str:
    """The same with `insightface.model_zoo.get_model(...).get_feat`, or why it was not compared.

    The reasons are `NOT_INSTALLED`, and `FED_OTHERWISE` for a file that needs another input than InsightFace gives it.

    manifest: load the file's folder by its manifest V2 (InsightFace 2.1), which a file of another side than 112 needs.
    Raises ValueError where InsightFace does not load the file as a recognition model, or its embeddings differ.
    """
    if not manifest and not network.takes_usual_input:
        return FED_OTHERWISE
    try:
        from insightface.model_zoo import get_model
    except ImportError:
        return NOT_INSTALLED
    file = network.path
    if manifest:
        model = get_model(str(file.parent), model_task="recognition", providers=["CPUExecutionProvider"])
    else:
        model = get_model(str(file), providers=["CPUExecutionProvider"])
    if model is None or getattr(model, "taskname", None) != "recognition":
        raise ValueError(f"{file}: InsightFace loads it as {type(model).__name__}, not as a recognition model")
    # get_feat takes BGR.
    images = [np.ascontiguousarray(image[:, :, ::-1]) for image in images_NSSC]
    size = network.fixed_batch or len(images)
    batches = [images[start : start + size] for start in range(0, len(images) - size + 1, size)]
    features_ND = np.concatenate([model.get_feat(batch) for batch in batches])
    features_ND = features_ND.reshape(len(features_ND), -1)
    return _require(minimum_cosine(features_ND, expected_ND[: len(features_ND)]), f"{file} in InsightFace")


def minimum_cosine(one_ND: np.ndarray, other_ND: np.ndarray) -> float:
    """Minimum over the rows of the cosine between both arrays; 0 for a row that is not finite."""
    one_ND, other_ND = np.asarray(one_ND, np.float64), np.asarray(other_ND, np.float64)
    lengths_N = np.linalg.norm(one_ND, axis=1) * np.linalg.norm(other_ND, axis=1)
    cosine_N = np.nan_to_num((one_ND * other_ND).sum(1) / np.maximum(lengths_N, 1e-12), nan=0.0)
    return float(cosine_N.min())


def _require(cosine: float, what: str) -> float:
    """Return the cosine. Raises ValueError where it is below `MIN_COSINE`."""
    if not cosine >= MIN_COSINE:
        raise ValueError(
            f"{what} differs from the student: minimum cosine {cosine:.6f}, required {MIN_COSINE}; nothing was exported"
        )
    return cosine
