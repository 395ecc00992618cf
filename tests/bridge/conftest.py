"""Where the bridge is tried: always in the stand-in checkout, and in the real one where ARCFACE_TORCH names it."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

# Where InsightFace's 112 px face has its eyes, nose and corners of the mouth.
FIVE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
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


@pytest.fixture(scope="session")
def lay_out_ijb():
    """A maker of IJB-C's or IJB-B's layout from 112 px faces: each somewhere in a larger crop, its five points beside it."""
    from aird_plugin.data.images import decode, encode_jpeg

    def write(root: Path, target: str, faces_NHWC, templates, medias, pairs, trust=None) -> np.ndarray:
        """Gives the faces as the crops, which are JPEG, have them. trust: detector scores, default 1."""
        random, kept, known, points = np.random.default_rng(0), [], [], []
        (root / "meta").mkdir(parents=True)
        (root / "loose_crop").mkdir()
        trust = np.ones(len(faces_NHWC)) if trust is None else trust
        for n, face in enumerate(faces_NHWC):
            x, y = random.integers(0, 40, 2)
            crop = random.integers(0, 256, (160, 155, 3), np.uint8)
            crop[y : y + 112, x : x + 112] = face
            payload = encode_jpeg(crop)
            (root / "loose_crop" / f"{n + 1}.jpg").write_bytes(payload)
            kept.append(decode(payload, "crop")[y : y + 112, x : x + 112])
            known.append(f"{n + 1}.jpg {templates[n]} {medias[n]}")
            places = " ".join(f"{value:.4f}" for point in FIVE_POINTS for value in np.add(point, (x, y)))
            points.append(f"{n + 1}.jpg {places} {trust[n]:.3f}")
        lists = {"face_tid_mid": known, "name_5pts_score": points}
        lists["template_pair_label"] = [f"{one} {other} {int(same)}" for one, other, same in pairs]
        for name, lines in lists.items():
            (root / "meta" / f"{target.lower()}_{name}.txt").write_text("\n".join(lines) + "\n")
        return np.stack(kept)

    return write
