"""Skips, each with what would un-skip it; conftest.py prints them at the end."""

import os
from types import ModuleType

import pytest

# Module -> what brings it. The others come with `make test`'s own environment.
BROUGHT_BY = {
    "insightface_server.models.manifest": "put InsightFace Server's backend on PYTHONPATH",
    "insightface.model_zoo.package_manifest": "pip install 'insightface>=2.1'",
    "atheris": "pip install atheris",
    "numcodecs.blosc": "pip install numcodecs",
    "packaging.requirements": "pip install packaging",
}
EXTRAS = {
    "onnx": ("onnx", "onnxruntime"),
    "insightface": ("insightface", "insightface.utils.face_align", "cv2", "skimage"),
    "faiss": ("faiss",),
    "arcface": ("scipy.io", "scipy.stats", "sklearn"),
    "prior": ("diffusers",),
    "wandb": ("wandb",),
    "ijb": ("matplotlib", "menpo", "pandas", "prettytable"),
}
for extra, modules in EXTRAS.items():
    BROUGHT_BY |= {module: f"pip install 'aird_plugin[{extra}]'" for module in modules}


def needs(module: str) -> ModuleType:
    """The module, or a skip that names what installs it."""
    remedy = BROUGHT_BY.get(module, f"pip install {module}")
    return pytest.importorskip(module, reason=f"no {module}: {remedy}", exc_type=ImportError)


def other_python(variable: str, what: str) -> list[str]:
    """The interpreters that an environment variable names, separated like PATH, or a skip."""
    interpreters = os.environ.get(variable, "").split(os.pathsep)
    if not interpreters[0]:
        pytest.skip(f"no {what}: set {variable} to a Python with it")
    return interpreters


def mxnet_python() -> str:
    """The interpreter that MXNET_PYTHON names, or a skip."""
    interpreter = os.environ.get("MXNET_PYTHON")
    if not interpreter:
        pytest.skip("no mxnet: set MXNET_PYTHON to a Python with tests/data/mxnet/requirements.txt")
    return interpreter
