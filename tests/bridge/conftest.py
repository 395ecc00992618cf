"""The bridge is tested on the stand-in checkout, and on a real one if ARCFACE_TORCH is set."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

# InsightFace's 112 px template: eyes, nose and mouth corners.
FIVE_POINTS = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
STANDIN = Path(__file__).parent / "standin"


@pytest.fixture(scope="session")
def standin() -> str:
    """A small stand-in with arcface_torch's names and signatures."""
    return str(STANDIN)


@pytest.fixture(scope="session", params=["standin", pytest.param("real", marks=pytest.mark.arcface_torch)])
def checkout(request) -> str:
    """The stand-in, then the real checkout."""
    return str(STANDIN) if request.param == "standin" else request.getfixturevalue("real_arcface_torch")


@pytest.fixture(scope="session")
def bridge_run(tiny_run) -> dict:
    """A run of 18 steps with upstream's own margin and uncompressed gradient averaging."""
    return tiny_run | {"margin_gradient": "upstream", "gradient_compression": False, "frequent": 1}


@pytest.fixture
def in_place_of(monkeypatch):
    """Put stand-in modules into sys.modules in place of a package, and import one of them."""

    def put(modules: dict, name: str):
        package = name.partition(".")[0]
        for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, loaded)
        for added, module in modules.items():
            monkeypatch.setitem(sys.modules, added, module)
        return importlib.import_module(name)

    return put


@pytest.fixture(scope="session")
def lay_out_ijb():
    """A function that writes IJB-C's or IJB-B's layout from 112 px images: each at a random place in a larger crop."""
    from aird_plugin.data.images import decode, encode_jpeg

    def write(root: Path, target: str, images_NHWC, templates, medias, pairs, scores=None) -> np.ndarray:
        """Return the images as decoded from the JPEG crops. scores: detector scores, default 1."""
        random, decoded, template_lines, point_lines = np.random.default_rng(0), [], [], []
        (root / "meta").mkdir(parents=True)
        (root / "loose_crop").mkdir()
        scores = np.ones(len(images_NHWC)) if scores is None else scores
        for n, image in enumerate(images_NHWC):
            x, y = random.integers(0, 40, 2)
            crop = random.integers(0, 256, (160, 155, 3), np.uint8)
            crop[y : y + 112, x : x + 112] = image
            payload = encode_jpeg(crop)
            (root / "loose_crop" / f"{n + 1}.jpg").write_bytes(payload)
            decoded.append(decode(payload, "crop")[y : y + 112, x : x + 112])
            template_lines.append(f"{n + 1}.jpg {templates[n]} {medias[n]}")
            points = " ".join(f"{value:.4f}" for point in FIVE_POINTS for value in np.add(point, (x, y)))
            point_lines.append(f"{n + 1}.jpg {points} {scores[n]:.3f}")
        lists = {"face_tid_mid": template_lines, "name_5pts_score": point_lines}
        lists["template_pair_label"] = [f"{one} {other} {int(same)}" for one, other, same in pairs]
        for name, lines in lists.items():
            (root / "meta" / f"{target.lower()}_{name}.txt").write_text("\n".join(lines) + "\n")
        return np.stack(decoded)

    return write
