"""InsightFace's own evaluation of what we train and export: arcface_torch's unmodified scripts, mended while they run.

eval_ijbc.py takes the weights of one of arcface_torch's networks, onnx_ijbc.py an .onnx file, eval/verification.py either.
"""

import importlib
import shutil
import tempfile
from argparse import Namespace
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch.nn.functional import pad

from aird_plugin.bridge import checkout, seams
from aird_plugin.bridge.host import upstreams_warnings_hidden
from aird_plugin.bridge.mends import Surroundings
from aird_plugin.bridge.patches import rebind
from aird_plugin.data.lowres import FACE_SIDE
from aird_plugin.export.graph import for_112_px
from aird_plugin.files import write_atomically
from aird_plugin.models.load import find_model, load_model
from aird_plugin.models.weights import detect_network, embedding_width, load_weights

TARGETS = ("IJBC", "IJBB")
META = ("face_tid_mid", "template_pair_label", "name_5pts_score")
# What eval_ijbc.py can build, and the width that it takes for granted.
NETWORKS, FULL_WIDTH = ("r18", "r34", "r50", "r100", "mbf"), 512
# As upstream's verification callback has them.
BATCH, FOLDS = 10, 10


def ijb(directory: str, model: str | Path, image_path: str | Path, target: str, result_dir: str | Path) -> Path:
    """Verify the template pairs of IJB-C or IJB-B by upstream's script, which prints its table; gives the file of scores.

    model: a run folder or a .pt (for eval_ijbc.py), an .onnx or a folder with one (for onnx_ijbc.py). image_path: the folder
    with `meta` and `loose_crop`. The file, `ijbc.npy` in `result_dir`, has the cosine of each template pair, float64, in the
    order of the list of pairs.

    Raises ValueError or FileNotFoundError for files that upstream could not run on, ImportError naming the extra.
    """
    folder, file = checkout.find(directory, seams.IJB_OF_ONNX), find_model(model).file
    check_layout(Path(image_path), target)
    work = ijb_of_onnx if file.suffix == ".onnx" else ijb_of_weights
    with tempfile.TemporaryDirectory() as scratch:
        made = work(folder, file, str(image_path), target, Path(scratch))
        for file in made.iterdir():
            write_atomically(Path(result_dir) / (target.lower() + file.suffix), file.read_bytes())
    return Path(result_dir) / f"{target.lower()}.npy"


def ijb_of_onnx(folder: Path, model: Path, image_path: str, target: str, scratch: Path) -> Path:
    """By onnx_ijbc.py, which writes beside the model: it gets a copy."""
    shutil.copy(model, scratch)
    with opened(folder, seams.IJB_OF_ONNX):
        script = importlib.import_module(seams.IJB_OF_ONNX)
        script.main(Namespace(model_root=str(scratch), image_path=image_path, target=target))
    return scratch / f"{target}_result"


def ijb_of_weights(folder: Path, model: Path, image_path: str, target: str, scratch: Path) -> Path:
    """By eval_ijbc.py, which works while it is imported. It gets the weights as they are on a CPU, wherever they were saved."""
    weights, named = find_model(model)
    state = load_weights(weights)
    network, width = named or detect_network(state, weights), embedding_width(state)
    if network not in NETWORKS or width > FULL_WIDTH:
        raise ValueError(
            f"{weights} is {network} with embeddings of {width} numbers; eval_ijbc.py knows "
            f"{', '.join(NETWORKS)} and {FULL_WIDTH} numbers at most: `aird export` it and give the .onnx file"
        )
    torch.save(state, scratch / "model.pt")
    told = {"model-prefix": scratch / "model.pt", "network": network, "image-path": image_path, "target": target}
    told |= {"result-dir": scratch, "job": "result"}
    with opened(folder, seams.IJB_OF_WEIGHTS) as stack:
        rebind(stack, *seams.TOOL_NETWORK, filled_up(width))
        rebind(stack, "sys", "argv", lambda before: ["eval_ijbc.py", *(f"--{key}={value}" for key, value in told.items())])
        importlib.import_module(seams.IJB_OF_WEIGHTS)
    return scratch / "result"


def filled_up(width: int):
    """Maker for get_model: embeddings of `width` numbers, then zeros, which change no length and no cosine."""

    def make(original):
        def get_model(name, **options):
            network = original(name, **options | {"num_features": width})
            network.register_forward_hook(lambda module, inputs, e_BD: pad(e_BD, (0, FULL_WIDTH - width)))
            return network

        return get_model

    return make


def verify(directory: str, model: str | Path, pairs_file: str | Path, network: str | None = None) -> tuple[float, float, float]:
    """Accuracy, its standard deviation over ten folds (0..1) and XNorm, by upstream's eval/verification.py, of sharp faces.

    model: as for `ijb`; a native student has its resize in front, as an exported one. network: for a bare .pt of a native
    student. Memory is upstream's: 0.6 MB a pair. Raises what `ijb` raises.
    """
    folder, device = checkout.find(directory, seams.IJB_OF_ONNX), "cuda" if torch.cuda.is_available() else "cpu"
    student = load_model(model, network)
    if isinstance(student, torch.nn.Module):
        student = for_112_px(student).to(device)
    forward = student if isinstance(student, torch.nn.Module) else student.embed_inputs
    with opened(folder, seams.VERIFICATION):
        script = importlib.import_module(seams.VERIFICATION)
        data_set = script.load_bin(str(pairs_file), (FACE_SIDE, FACE_SIDE))
        *_, accuracy, std, xnorm, _ = script.test(data_set, lambda x_B3SS: forward(x_B3SS.to(device)), BATCH, FOLDS)
    return float(accuracy), float(std), float(xnorm)


@contextmanager
def opened(folder: Path, tool: str):
    """The checkout importable, a tool of its mended; sys.path, warnings and all else put back afterwards. Gives an ExitStack."""
    with ExitStack() as stack:
        stack.enter_context(upstreams_warnings_hidden())
        rebind(stack, "sys", "path", list)
        try:
            seams.mend_tool(stack, folder, tool, Surroundings(cpu=not torch.cuda.is_available()))
            yield stack
        except ModuleNotFoundError as error:
            raise ImportError(f"arcface_torch's evaluation imports {error.name}: pip install 'aird_plugin[ijb]'") from error


def check_layout(image_path: Path, target: str) -> None:
    """FileNotFoundError where a part of IJB's layout is missing, ValueError for another target than those there are."""
    if target not in TARGETS:
        raise ValueError(f"target is one of {', '.join(TARGETS)}; got {target!r}")
    for part in ("loose_crop", *(f"meta/{target.lower()}_{name}.txt" for name in META)):
        if not (image_path / part).exists():
            raise FileNotFoundError(f"{image_path} is no {target} as InsightFace lays it out: it has no {part}")
