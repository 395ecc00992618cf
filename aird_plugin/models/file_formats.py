"""The formats of weight files: those that are read, and what others are and how they become one of these."""

import zipfile
from pathlib import Path

from torch import Tensor

from aird_plugin.utils.files import write_atomically

SAFETENSORS = ".safetensors"
SUFFIXES = (".onnx", ".pt", ".pth", ".ckpt", SAFETENSORS)
# What files of other formats are, and how their network becomes one of SUFFIXES.
OTHER_FORMATS = {
    (".params", ".json"): "MXNet's; its exporter mxnet.onnx.export_model (1.9) makes an .onnx of the .params and .json files",
    (".caffemodel", ".prototxt"): "Caffe's; caffe2onnx converts it",
    (".h5", ".keras"): "Keras's; `python -m tf2onnx.convert --keras FILE --output OUT.onnx` converts it",
    (".tflite",): "TensorFlow Lite's; `python -m tf2onnx.convert --tflite FILE --output OUT.onnx` converts it",
    (".pb",): "TensorFlow's; `python -m tf2onnx.convert` converts it",
    (".pdparams", ".pdmodel", ".pdiparams"): "PaddlePaddle's; paddle2onnx converts it",
    (".engine", ".trt", ".plan"): "a TensorRT engine, which no tool converts back; give the .onnx it was built from",
    (
        ".param",
        ".ncnn",
        ".mnn",
        ".rknn",
    ): "a file of a mobile runtime, which no tool converts back; give the .onnx it was made from",
    (".mlmodel", ".mlpackage"): "Core ML's; give the file that it was converted from",
    (".xml",): "OpenVINO's; give the .onnx that it was made from",
    (".pkl", ".pickle", ".npy", ".npz"): "Python objects; write torch.save(model.state_dict(), 'model.pt')",
    (".zip", ".tar", ".gz", ".7z", ".rar"): "an archive; unpack it",
}
TORCHSCRIPT = (
    "a TorchScript program, not weights: save its weights with torch.save(torch.jit.load(FILE).state_dict(), 'OUT.pt'), or "
    "export it with torch.onnx.export"
)


def is_torchscript(path: Path) -> bool:
    """Whether the file is a TorchScript archive: a zip file with code."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def unreadable_format(suffix: str) -> str:
    """The words of the error: the formats that are read, and what a file with this suffix is."""
    about = next((f", which is {text}" for suffixes, text in OTHER_FORMATS.items() if suffix.lower() in suffixes), "")
    return f"a .pt, .pth, .ckpt, .safetensors or .onnx file is expected, got {suffix or 'no suffix'!r}{about}"


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file. Raises ImportError naming the extra, and ValueError for a damaged file."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f"reading {path} needs `pip install aird_plugin[safetensors]`") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable .safetensors file (corrupt or truncated?): {error}") from error


def save_safetensors(path: Path, state: dict[str, Tensor]) -> None:
    """Write a state dict as .safetensors, atomically. Raises ImportError naming the extra."""
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise ImportError(f"writing {path} needs `pip install aird_plugin[safetensors]`") from error
    # Cloned: the format refuses tensors that share their memory.
    write_atomically(path, save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}))
