"""Where the bridge is tried: always in the stand-in checkout, and in the real one where ARCFACE_TORCH names it."""

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
