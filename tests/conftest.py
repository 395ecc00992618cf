"""What every test may lean on."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def aird_data() -> Path:
    """The folder of real faces and the real teacher; a test that asks for it is skipped where it is absent."""
    folder = Path(os.environ.get("AIRD_DATA", "data"))
    if not (folder / "faces15k" / "train.rec").exists():
        pytest.skip(f"no real faces at AIRD_DATA={folder}")
    return folder


@pytest.fixture
def noise_faces():
    """A maker of uint8 faces of noise, smooth enough for a resize to matter."""

    def make(count: int, side: int = 112, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        coarse = rng.integers(0, 256, (count, side // 4, side // 4, 3), np.uint8)
        fine = rng.integers(0, 40, (count, side, side, 3), np.uint8)
        return (coarse.repeat(4, 1).repeat(4, 2) // 2 + fine).astype(np.uint8)

    return make
