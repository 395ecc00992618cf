"""Synthetic images, teachers of random weights, and recipes reduced to them.

No real faces and no trained models: the checks compare devices, not accuracies.
"""

import contextlib
import io
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from aird_plugin.config.recipe import Recipe, load
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.synthetic.draw import draw_jpegs
from aird_plugin.diagnostics.gpu.check import CheckContext, Skipped
from aird_plugin.models import build
from aird_plugin.models.registry import ONNX
from aird_plugin.training.state import TrainState, build_state
from aird_plugin.utils.package_recipes import recipes_folder

# Teachers: a small network, and one with feature maps.
SMALL, WITH_MAPS, WIDTH = "native112_0.05m", "mfn", 128
BATCH, LISTED = 8, 16
# Seeds of the synthetic images: training, pairs.
TRAINING, TESTING = 1, 2
TESTED = 10


def recipe_files() -> list[Path]:
    """Every recipe of the package."""
    return sorted(recipes_folder().rglob("*.py"))


def faces(context: CheckContext, identities: int | None = None) -> Path:
    """A folder with train.rec of synthetic identities, drawn at the first call."""
    count = identities or context.sizes.identities
    folder = context.scratch / f"faces{count}"
    if not (folder / "train.rec").exists():
        shots = [(label, shot) for label in range(count) for shot in range(context.sizes.shots)]
        images = draw_jpegs(shots, TRAINING, workers())
        write_face_records(folder, zip((label for label, _ in shots), images, strict=True))
    return folder


def pairs(context: CheckContext) -> str:
    """A verification file of synthetic identities."""
    path = context.scratch / "pairs.bin"
    if not path.exists():
        shots, same = [], []
        for n in range(context.sizes.pairs):
            shots += [(n % TESTED, n), (n % TESTED if n % 2 else (n + 3) % TESTED, n + context.sizes.pairs)]
            same.append(bool(n % 2))
        write_pairs(path, list(draw_jpegs(shots, TESTING, workers())), same)
    return str(path)


def workers() -> int:
    """Processes that draw; one where this process is a worker itself."""
    return 1 if multiprocessing.parent_process() else min(8, os.cpu_count() or 1)


def weights(context: CheckContext, network: str, width: int = WIDTH) -> str:
    """A .pt file of a network's random weights."""
    path = context.scratch / f"{network}-{width}.pt"
    if not path.exists():
        torch.manual_seed(0)
        torch.save(build(network, width).eval().state_dict(), path)
    return str(path)


def graph(context: CheckContext) -> str:
    """An .onnx file of the small teacher. Raises Skipped where the extra is missing."""
    path = context.scratch / f"{SMALL}.onnx"
    if not path.exists():
        try:
            from aird_plugin.export.graph import write_student

            network = build(SMALL, WIDTH).eval()
            network.load_state_dict(torch.load(weights(context, SMALL), weights_only=True))
            write_student(network, path, {})
        except ImportError as error:
            raise Skipped(str(error).splitlines()[0]) from error
    return str(path)


def prior(context: CheckContext) -> str:
    """The folder of an untrained diffusion prior. Raises Skipped where the extra is missing."""
    folder = context.scratch / "prior"
    if not folder.exists():
        try:
            from aird_plugin.prior.config import PriorConfig
            from aird_plugin.prior.model import build_scheduler, build_unet, save_prior

            torch.manual_seed(0)
            unet = build_unet(PriorConfig(prior_side=32, prior_widths=(8, 16, 16, 16)))
            save_prior(folder, unet, build_scheduler())
        except ImportError as error:
            raise Skipped(str(error).splitlines()[0]) from error
    return str(folder)


def reduced_recipe(path: Path, context: CheckContext, *keys: str) -> Recipe:
    """A recipe on the synthetic images with a teacher of random weights and a batch of eight, in float32; `keys` come last.

    Network, losses, margin, px, degradation and where the teacher runs (bank or online) stay the recipe's.
    Raises Skipped where an extra that it needs is missing.
    """
    return load(path, [*reduced_keys(load(path), context), f"output={context.scratch / 'runs' / path.stem}", *keys])


def built(recipe: Recipe) -> TrainState:
    """The training state; warnings about the synthetic labels and the random teacher are not printed."""
    with contextlib.redirect_stderr(io.StringIO()):
        return build_state(recipe)


def reduced_keys(full: Recipe, context: CheckContext) -> Iterator[str]:
    """The keys that reduce a recipe to the synthetic images and their teacher."""
    yield from (f"rec={faces(context)}", "num_classes=0", "num_image=0", f"batch_size={BATCH}", "gradient_acc=1")
    yield from ("num_workers=0", "val_targets=()", "facebn=None", "bf16=False", "fp16=False", "compile=False")
    yield f"bank_hard={LISTED}"
    onnx = full.student.network == ONNX
    network = WITH_MAPS if full.bank.online else SMALL
    if full.teacher.teacher:
        yield from (f"teacher={graph(context) if onnx else weights(context, network)}", "embedding_size=0", "teacher_input=None")
        yield f"teacher_network={None if onnx else network}"
    else:
        yield f"embedding_size={WIDTH}"
    if full.student.student_init and not onnx:
        yield f"student_init={weights(context, full.student.network)}"
    if full.prior.prior:
        yield f"prior={prior(context)}"
    # A bank belongs to one teacher and one degradation.
    yield f"bank={context.scratch / 'bank' / '-'.join((ONNX if onnx else network, str(full.data.degradation)[:16].strip('{')))}"
    for name, spec in full.terms.items():
        if hasattr(spec, "negatives"):
            yield f"{name}_negatives={BATCH}"
        if isinstance(getattr(spec, "anchors", None), int):
            yield f"{name}_anchors={LISTED}"
