"""Where the bridge is tried: always in the stand-in checkout, and in the real one where ARCFACE_TORCH names it."""

import importlib
import sys
from pathlib import Path

import pytest

STANDIN = Path(__file__).parent / "standin"


@pytest.fixture(scope="session")
def standin() -> str:
    """A few lines of our own under arcface_torch's names and signatures."""
    return str(STANDIN)


@pytest.fixture(scope="session", params=["standin", pytest.param("real", marks=pytest.mark.arcface_torch)])
def checkout(request) -> str:
    """The stand-in, then the real checkout."""
    return str(STANDIN) if request.param == "standin" else request.getfixturevalue("real_arcface_torch")


@pytest.fixture(scope="session")
def bridge_run(tiny_run) -> dict:
    """A run of 18 steps whose margin is upstream's own and whose gradients are averaged as they are."""
    return tiny_run | {"margin_gradient": "upstream", "gradient_compression": False, "frequent": 1}


@pytest.fixture
def in_place_of(monkeypatch):
    """Puts stand-in modules where a package is imported from, and imports one of them."""

    def put(modules: dict, name: str):
        package = name.partition(".")[0]
        for known in [known for known in sys.modules if known.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, known)
        for known, module in modules.items():
            monkeypatch.setitem(sys.modules, known, module)
        return importlib.import_module(name)

    return put
