"""Drawn images, teachers of random weights, and recipes cut to their size.

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
from aird_plugin.diagnostics.gpu.check import Bench, Skipped
from aird_plugin.models import build
from aird_plugin.models.registry import ONNX
from aird_plugin.training.state import TrainState, build_state
from aird_plugin.utils.package_recipes import recipes_folder

# Teachers: a small network, and one with feature maps.
SMALL, WITH_MAPS, WIDTH = "native112_0.05m", "mfn", 128
BATCH, LISTED = 8, 16
# Seeds of the drawn images: training, pairs.
TRAINING, TESTING = 1, 2
TESTED = 10


def recipe_files() -> list[Path]:
    """Every recipe of the package."""
    return sorted(recipes_folder().rglob("*.py"))


def faces(bench: Bench, identities: int | None = None) -> Path:
    """A folder with train.rec of drawn identities, drawn at the first call."""
    count = identities or bench.sizes.identities
    folder = bench.scratch / f"faces{count}"
    if not (folder / "train.rec").exists():
        shots = [(label, shot) for label in range(count) for shot in range(bench.sizes.shots)]
        images = draw_jpegs(shots, TRAINING, workers())
        write_face_records(folder, zip((label for label, _ in shots), images, strict=True))
    return folder


def pairs(bench: Bench) -> str:
    """A verification file of drawn identities."""
    path = bench.scratch / "pairs.bin"
    if not path.exists():
        shots, same = [], []
        for n in range(bench.sizes.pairs):
            shots += [(n % TESTED, n), (n % TESTED if n % 2 else (n + 3) % TESTED, n + bench.sizes.pairs)]
            same.append(bool(n % 2))
        write_pairs(path, list(draw_jpegs(shots, TESTING, workers())), same)
    return str(path)


def workers() -> int:
    """Processes that draw; one where this process is a worker itself."""
    return 1 if multiprocessing.parent_process() else min(8, os.cpu_count() or 1)


def weights(bench: Bench, network: str, width: int = WIDTH) -> str:
    """A .pt file of a network's random weights."""
    path = bench.scratch / f"{network}-{width}.pt"
    if not path.exists():
        torch.manual_seed(0)
        torch.save(build(network, width).eval().state_dict(), path)
    return str(path)


def graph(bench: Bench) -> str:
    """An .onnx file of the small teacher. Raises Skipped where the extra is missing."""
    path = bench.scratch / f"{SMALL}.onnx"
    if not path.exists():
        try:
            from aird_plugin.export.graph import write_student

            network = build(SMALL, WIDTH).eval()
            network.load_state_dict(torch.load(weights(bench, SMALL), weights_only=True))
            write_student(network, path, {})
        except ImportError as error:
            raise Skipped(str(error).splitlines()[0]) from error
    return str(path)


def prior(bench: Bench) -> str:
    """The folder of an untrained diffusion prior. Raises Skipped where the extra is missing."""
    folder = bench.scratch / "prior"
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


def shrunk(path: Path, bench: Bench, *keys: str) -> Recipe:
    """A recipe on the drawn images with a teacher of random weights and a batch of eight, in float32; `keys` come last.

    Network, losses, margin, px, degradation and where the teacher runs (bank or online) stay the recipe's.
    Raises Skipped where an extra that it needs is missing.
    """
    return load(path, [*cut(load(path), bench), f"output={bench.scratch / 'runs' / path.stem}", *keys])


def built(recipe: Recipe) -> TrainState:
    """The training state; warnings about the drawn labels and the random teacher are not printed."""
    with contextlib.redirect_stderr(io.StringIO()):
        return build_state(recipe)


def cut(full: Recipe, bench: Bench) -> Iterator[str]:
    """The keys that fit a recipe to the drawn images."""
    yield from (f"rec={faces(bench)}", "num_classes=0", "num_image=0", f"batch_size={BATCH}", "gradient_acc=1")
    yield from ("num_workers=0", "val_targets=()", "facebn=None", "bf16=False", "fp16=False", "compile=False")
    yield f"bank_hard={LISTED}"
    onnx = full.student.network == ONNX
    network = WITH_MAPS if full.bank.online else SMALL
    if full.teacher.teacher:
        yield from (f"teacher={graph(bench) if onnx else weights(bench, network)}", "embedding_size=0", "teacher_input=None")
        yield f"teacher_network={None if onnx else network}"
    else:
        yield f"embedding_size={WIDTH}"
    if full.student.student_init and not onnx:
        yield f"student_init={weights(bench, full.student.network)}"
    if full.prior.prior:
        yield f"prior={prior(bench)}"
    # A bank belongs to one teacher and one degradation.
    yield f"bank={bench.scratch / 'bank' / '-'.join((ONNX if onnx else network, str(full.data.degradation)[:16].strip('{')))}"
    for name, spec in full.terms.items():
        if hasattr(spec, "negatives"):
            yield f"{name}_negatives={BATCH}"
        if isinstance(getattr(spec, "anchors", None), int):
            yield f"{name}_anchors={LISTED}"
