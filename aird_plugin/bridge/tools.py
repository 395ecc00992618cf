"""InsightFace's own evaluation of trained and exported models: arcface_torch's unmodified scripts, with compatibility patches.

eval_ijbc.py takes the weights of one of arcface_torch's networks, onnx_ijbc.py an .onnx file, eval/verification.py either.
"""

import importlib
import tempfile
from argparse import Namespace
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import pad

from aird_plugin.bridge import checkout, hooks
from aird_plugin.bridge.compat import Environment
from aird_plugin.bridge.host import upstream_warnings_ignored
from aird_plugin.bridge.patching import rebind
from aird_plugin.data.constants import FACE_SIDE
from aird_plugin.data.pairs import read_pairs
from aird_plugin.evaluation.distances import check_labels
from aird_plugin.export.graph import for_112_px
from aird_plugin.models.find import find_model
from aird_plugin.models.from_weights import detect_network, embedding_width
from aird_plugin.models.load import load_model
from aird_plugin.models.onnx_file import single_file
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.weights import load_weights
from aird_plugin.utils.devices import pick_device
from aird_plugin.utils.files import write_atomically

TARGETS = ("IJBC", "IJBB")
META = ("face_tid_mid", "template_pair_label", "name_5pts_score")
# The networks that eval_ijbc.py can build, and the embedding width that it assumes.
NETWORKS, FULL_WIDTH = ("r18", "r34", "r50", "r100", "mbf"), 512
# The values of upstream's verification callback.
BATCH, FOLDS = 10, 10


def ijb(directory: str, model: str | Path, image_path: str | Path, target: str, result_dir: str | Path) -> Path:
    """Verify the template pairs of IJB-C or IJB-B with upstream's script, which prints its table; returns the file of scores.

    model: a run folder or a .pt (for eval_ijbc.py), an .onnx or a folder with one (for onnx_ijbc.py). image_path: the folder
    with `meta` and `loose_crop`. The file, `ijbc.npy` in `result_dir`, contains the cosine of each template pair, float64, in
    the order of the list of pairs.

    Raises ValueError or FileNotFoundError for files that upstream cannot process, ImportError naming the extra.
    """
    folder, file = checkout.find(directory, hooks.IJB_OF_ONNX), find_model(model).file
    check_layout(Path(image_path), target)
    evaluate = ijb_of_onnx if file.suffix == ".onnx" else ijb_of_weights
    with tempfile.TemporaryDirectory() as scratch:
        results = evaluate(folder, file, str(image_path), target, Path(scratch))
        for file in results.iterdir():
            write_atomically(Path(result_dir) / (target.lower() + file.suffix), file.read_bytes())
    return Path(result_dir) / f"{target.lower()}.npy"


def ijb_of_onnx(folder: Path, model: Path, image_path: str, target: str, scratch: Path) -> Path:
    """Evaluate with onnx_ijbc.py on a copy of the model: the script writes its results beside it."""
    write_atomically(scratch / model.name, single_file(model))
    with opened(folder, hooks.IJB_OF_ONNX):
        script = importlib.import_module(hooks.IJB_OF_ONNX)
        check_usual_input(model)
        script.main(Namespace(model_root=str(scratch), image_path=image_path, target=target))
    return scratch / f"{target}_result"


def check_usual_input(model: Path) -> None:
    """Raise ValueError for a file that needs another input than onnx_ijbc.py gives it."""
    network = OnnxTeacher(model)
    if not network.takes_usual_input:
        raise ValueError(
            f"{model} takes {network.input}, and onnx_ijbc.py feeds every file by InsightFace's rule: its embeddings would be "
            "wrong; `aird evaluate` and `aird identify` feed it as it needs"
        )


def ijb_of_weights(folder: Path, model: Path, image_path: str, target: str, scratch: Path) -> Path:
    """Evaluate with eval_ijbc.py, which runs on import. It gets the weights mapped to the CPU, wherever they were saved."""
    weights, known_network = find_model(model)
    state = load_weights(weights)
    network, width = known_network or detect_network(state, weights), embedding_width(state)
    if network not in NETWORKS or width > FULL_WIDTH:
        raise ValueError(
            f"{weights} is {network} with embeddings of {width} numbers; eval_ijbc.py supports "
            f"{', '.join(NETWORKS)} and {FULL_WIDTH} numbers at most: `aird export` it and give the .onnx file"
        )
    torch.save(state, scratch / "model.pt")
    options = {"model-prefix": scratch / "model.pt", "network": network, "image-path": image_path, "target": target}
    options |= {"result-dir": scratch, "job": "result"}
    with opened(folder, hooks.IJB_OF_WEIGHTS) as stack:
        rebind(stack, *hooks.TOOL_NETWORK, zero_padded(width))
        rebind(stack, "sys", "argv", lambda before: ["eval_ijbc.py", *(f"--{key}={value}" for key, value in options.items())])
        importlib.import_module(hooks.IJB_OF_WEIGHTS)
    return scratch / "result"


def zero_padded(width: int):
    """Wrapper for get_model: embeddings of `width` numbers padded with zeros, which change no norm and no cosine."""

    def make(original):
        def get_model(name, **options):
            network = original(name, **options | {"num_features": width})
            network.register_forward_hook(lambda module, inputs, e_BD: pad(e_BD, (0, FULL_WIDTH - width)))
            return network

        return get_model

    return make


def verify(directory: str, model: str | Path, pairs_file: str | Path, network: str | None = None) -> tuple[float, float, float]:
    """Accuracy, its standard deviation over ten folds (0..1) and XNorm on HR images, by upstream's eval/verification.py.

    model: as for `ijb`; a native student gets the resize in front, like an exported one. network: for a bare .pt of a native
    student. Memory use is upstream's: 0.6 MB a pair. Raises what `ijb` raises, and ValueError for pairs that it cannot evaluate.
    """
    folder, device = checkout.find(directory, hooks.IJB_OF_ONNX), pick_device()
    student = load_model(model, network)
    check_pairs(pairs_file)
    if isinstance(student, torch.nn.Module):
        student = for_112_px(student).to(device)
    forward = student if isinstance(student, torch.nn.Module) else student.embed_inputs
    with opened(folder, hooks.VERIFICATION):
        script = importlib.import_module(hooks.VERIFICATION)
        data_set = script.load_bin(str(pairs_file), (FACE_SIDE, FACE_SIDE))
        *_, accuracy, std, xnorm, _ = script.test(data_set, lambda x_B3SS: forward(x_B3SS.to(device)), BATCH, FOLDS)
    return float(accuracy), float(std), float(xnorm)


def check_pairs(pairs_file: str | Path) -> None:
    """Raise ValueError for a file whose folds do not all hold pairs of both kinds: upstream divides by both counts of a fold."""
    same_N = read_pairs(pairs_file).same
    try:
        check_labels(same_N, FOLDS)
    except ValueError as error:
        raise ValueError(f"{pairs_file}: {error}") from error
    for number, same_F in enumerate(np.array_split(same_N, FOLDS), 1):
        for kind, count in (("same", same_F.sum()), ("different", (~same_F).sum())):
            if not count:
                raise ValueError(
                    f"{pairs_file}: fold {number} of {FOLDS} ({len(same_F)} of {len(same_N)} pairs) has no '{kind}' pair, and "
                    "arcface_torch's evaluation divides by their number; give more pairs, both kinds in every tenth of the file, "
                    "or use `aird evaluate`, which takes this file"
                )


@contextmanager
def opened(folder: Path, tool: str):
    """Make the checkout importable and patch one of its tools; restores everything afterwards. Yields an ExitStack."""
    with ExitStack() as stack:
        stack.enter_context(upstream_warnings_ignored())
        rebind(stack, "sys", "path", list)
        try:
            hooks.patch_tool(stack, folder, tool, Environment(cpu=not torch.cuda.is_available()))
            yield stack
        except ModuleNotFoundError as error:
            raise ImportError(f"arcface_torch's evaluation imports {error.name}: pip install 'aird_plugin[ijb]'") from error


def check_layout(image_path: Path, target: str) -> None:
    """Raise FileNotFoundError if a part of IJB's layout is missing, ValueError for an unknown target."""
    if target not in TARGETS:
        raise ValueError(f"target is one of {', '.join(TARGETS)}; got {target!r}")
    for part in ("loose_crop", *(f"meta/{target.lower()}_{name}.txt" for name in META)):
        if not (image_path / part).exists():
            raise FileNotFoundError(f"{image_path} is no {target} as InsightFace lays it out: it has no {part}")
