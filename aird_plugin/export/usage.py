"""The section of MODEL_CARD.md on how to use the exported files without this project."""

from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.models.onnx_teacher import OnnxTeacher


def usage(name: str, files: list) -> str:
    """How to use files that InsightFace feeds as they need. files: `contents.VerifiedFile`."""
    text = (
        f"Copy this folder to `~/.insightface/models/{name}`; with an InsightFace detector in it (`det_10g.onnx`),\n"
        f"`FaceAnalysis(name={name!r})` loads it. Without a detector, on aligned 112 px BGR crops:\n\n"
        "```python\nfrom insightface.model_zoo import get_model\n"
        f"model = get_model('{name}/{name}.onnx')\nfeatures = model.get_feat(crops)   # not normalised; compare by cosine\n```"
    )
    native = next((file for file in files if file.side != FACE_SIDE), None)
    if native is None:
        return text
    return text + (
        f"\n\nThe 112 px file downsamples to {native.side} px in its graph. For images of {native.side} px use\n"
        f"`{native.file}`, which InsightFace 2.1 loads by its manifest:\n\n"
        f"```python\nmodel = get_model('{name}/native', model_task='recognition')\n"
        f"features = model.get_feat(small_crops)   # {native.side} px, BGR\n```"
    )


def own_usage(name: str, network: OnnxTeacher) -> str:
    """How to use a file that InsightFace feeds another way than it needs."""
    code = "\n".join(feeding_code(f"{name}/{name}.onnx", network))
    return (
        f"Input: {network.input}.\n"
        "InsightFace feeds the file another way: with `FaceAnalysis` and `get_feat` its features are wrong.\n"
        f"On aligned {FACE_SIDE} px crops, uint8, BGR as OpenCV reads them:\n\n```python\n{code}\n```\n\n"
        "The file's metadata hold the input; programs of `aird_plugin` read it there."
    )


def feeding_code(path: str, network: OnnxTeacher) -> list[str]:
    """Lines of Python that embed `crops` with onnxruntime alone."""
    own = network.input
    rows, columns = own.size
    top, left = (FACE_SIDE - rows) // 2, (FACE_SIDE - columns) // 2
    batch = f"exactly {network.fixed_batch}" if network.fixed_batch else "N"
    lines = ["import numpy as np", "import onnxruntime", "", f"session = onnxruntime.InferenceSession({path!r})"]
    lines.append(f"x = np.asarray(crops)   # ({batch}, {FACE_SIDE}, {FACE_SIDE}, 3)")
    if (rows, columns) != (FACE_SIDE, FACE_SIDE):
        lines.append(f"x = x[:, {top}:{top + rows}, {left}:{left + columns}]")
    if own.color == "rgb":
        lines.append("x = x[..., ::-1]   # BGR to RGB")
    if own.dtype != "uint8":
        lines.append(f"x = ((x - np.float32({list(own.mean)})) / np.float32({list(own.std)})).astype(np.{own.dtype})")
    if own.layout == "nchw":
        lines.append("x = x.transpose(0, 3, 1, 2)")
    unused = "".join(f", {key!r}: np.zeros({array.shape}, np.{array.dtype})" for key, array in network.unused_inputs.items())
    lines.append(f"[features] = session.run([{own.output!r}], {{{network.input_name!r}: x{unused}}})")
    return [*lines, "features = features.reshape(len(x), -1)   # not normalised; compare by cosine"]
