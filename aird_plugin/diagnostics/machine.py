"""Installed packages, devices and data folder of this machine."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from aird_plugin.diagnostics.diagnostic import Diagnostic
from aird_plugin.utils.counts import counted

EXTRAS = {
    "onnx": "onnxruntime",
    "insightface": "insightface",
    "arcface": "scipy",
    "ijb": "menpo",
    "report": "scikit-learn",
    "prior": "diffusers",
    "faiss": "faiss-cpu",
    "video": "trackers",
    "safetensors": "safetensors",
    "wandb": "wandb",
}
# The module of a package of another name. A package for GPUs, such as onnxruntime-gpu, brings the same module under its own name,
# and must not be joined by the one for CPUs.
MODULES = {"faiss-cpu": "faiss"}


def check_machine() -> Iterator[Diagnostic]:
    """Check the Python version, packages, devices and data folder."""
    import torch

    yield Diagnostic(
        "ok",
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"{counted(os.cpu_count() or 1, 'core')}, {counted(torch.get_num_threads(), 'torch thread')}",
    )
    for package in ("numpy", "pillow", "simplejpeg", "easydict", "filelock", "tqdm", "tensorboard"):
        yield version_of(package)
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))
        yield Diagnostic("ok", f"CUDA {torch.version.cuda}: {names}")
    else:
        yield Diagnostic("note", "no CUDA device", "runs train on the CPU (small native students do so in minutes)")
    for extra, package in EXTRAS.items():
        found = version_of_module(package)
        remedy = f"pip install 'aird_plugin[{extra}]' where needed"
        yield found if found.status == "ok" else Diagnostic("note", f"no {package}", remedy)
    data = Path(os.environ.get("AIRD_DATA", "data"))
    if data.is_dir():
        yield Diagnostic("ok", f"AIRD_DATA={data}")
    else:
        yield Diagnostic("note", f"no folder AIRD_DATA={data}", "recipes look there for training images and teachers")


def version_of(package: str) -> Diagnostic:
    """Check whether a package is installed, and report its version."""
    try:
        return Diagnostic("ok", f"{package} {importlib.metadata.version(package)}")
    except importlib.metadata.PackageNotFoundError:
        return Diagnostic("error", f"no {package}", f"pip install {package}")


def version_of_module(package: str) -> Diagnostic:
    """`version_of` the package, or of another one that brings its module."""
    found = version_of(package)
    if found.status == "ok":
        return found
    others = importlib.metadata.packages_distributions().get(MODULES.get(package, package), ())
    return next(map(version_of, others), found)
