"""InsightFace's own evaluation of our weights and exports, compared with a slow reference implementation."""

import hashlib
import io
import json
import multiprocessing
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.bridge.tools import ijb, verify, zero_padded
from aird_plugin.data.lowres import low_faces, to_input
from aird_plugin.data.pairs import pair_faces, read_pairs, write_pairs
from aird_plugin.data.synthetic.draw import draw_person
from aird_plugin.evaluation.pair_evaluator import PairEvaluator
from aird_plugin.export.graph import for_112_px, write_onnx
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from tests.skips import needs

IDENTITIES, SHOTS = 5, 6
TEMPLATES = [10 * identity + (shot > 2) for identity in range(1, IDENTITIES + 1) for shot in range(SHOTS)]
MEDIAS = [7 * identity + shot // 2 for identity in range(1, IDENTITIES + 1) for shot in range(SHOTS)]
NAMES = sorted(set(TEMPLATES))
PAIRS = [(one, other, one // 10 == other // 10) for one in NAMES for other in NAMES if one < other]
NATIVE = "native16_0.05m"


@pytest.fixture(scope="module")
def drawn(lay_out_ijb, tmp_path_factory):
    """Five identities in ten templates of two media each: folder, images as decoded from its crops, detector scores."""
    root, scores = tmp_path_factory.mktemp("ijb"), np.linspace(0.5, 1, len(TEMPLATES)).round(3)
    images = [draw_person(identity, shot) for identity in range(IDENTITIES) for shot in range(SHOTS)]
    return root / "IJBC", lay_out_ijb(root / "IJBC", "IJBC", images, TEMPLATES, MEDIAS, PAIRS, scores), scores


@pytest.fixture(scope="module")
def runs(drawn, tmp_path_factory):
    """Run folders of untrained students with BatchNorm statistics of the drawn images, for distinct embeddings; and exports."""
    root, images_NHWC = tmp_path_factory.mktemp("runs"), drawn[1]
    for name in ("mbf", NATIVE):
        torch.manual_seed(0)
        network = build(name, 8).train()
        inputs = images_NHWC if network.input_size == 112 else low_faces(images_NHWC, 16, grow=False)
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        network(to_input(torch.from_numpy(inputs)))
        (root / name).mkdir()
        torch.save(network.eval().state_dict(), root / name / "model.pt")
        (root / name / "recipe.json").write_text(json.dumps({"network": name, "embedding_size": 8, "px": 16}))
    torch.save(build("mfn", 8).state_dict(), root / "mfn.pt")
    write_onnx(for_112_px(load_model(root / NATIVE)), root / "exported" / "exported.onnx", {})
    write_onnx(load_model(root / NATIVE), root / "small" / "small.onnx", {})
    raw = {"input": {"mean": 0.0, "std": 1.0}}
    write_onnx(for_112_px(load_model(root / NATIVE)), root / "raw" / "raw.onnx", raw)
    return root


def slow_scores(network, images_NHWC, scores) -> np.ndarray:
    """TestMode N1 D1 F2: (e + e_flip) times the detector score; mean per medium; sum per template; cosines."""
    x = to_input(torch.from_numpy(images_NHWC))
    with torch.inference_mode():
        e_ND = (network(x) + network(x.flip(3))).double().numpy()
    template = {}
    for name in NAMES:
        rows = [n for n in range(len(TEMPLATES)) if TEMPLATES[n] == name]
        media = {MEDIAS[n] for n in rows}
        parts = [np.mean([e_ND[n] * scores[n] for n in rows if MEDIAS[n] == medium], axis=0) for medium in media]
        template[name] = np.sum(parts, axis=0) / np.linalg.norm(np.sum(parts, axis=0))
    return np.array([template[one] @ template[other] for one, other, _ in PAIRS])


def check_scores(made: Path, printed: str, expected: np.ndarray) -> None:
    """Cosines agree and spread over a range; the table's first TAR is the fraction above every impostor score."""
    scores, same = np.load(made), np.array([same for *_, same in PAIRS])
    # Random rounding errors grow like the square root: twenty layers, the longest sum over 25,088 numbers, u = 2**-24.
    np.testing.assert_allclose(scores, expected, atol=20 * 25_088**0.5 * 2**-24)
    assert np.ptp(expected) > 0.5
    row = [line for line in printed.splitlines() if re.match(r"\|.*\d\.\d", line)][-1]
    assert float(row.split("|")[2]) == pytest.approx(100 * np.mean(expected[same] > expected[~same].max()), abs=0.005)


@pytest.fixture
def equipped_checkout(checkout, standin):
    """A checkout whose evaluation has the packages that it imports; the stand-in needs none."""
    if checkout != standin:
        for package in ("cv2", "insightface", "matplotlib", "menpo", "pandas", "prettytable", "skimage", "sklearn"):
            needs(package)
    needs("onnxruntime")
    return checkout


def test_eval_ijbc_matches_the_reference_for_weights(equipped_checkout, drawn, runs, tmp_path, capfd):
    root, images, scores = drawn
    made = ijb(equipped_checkout, runs / "mbf", root, "IJBC", tmp_path / "out")
    check_scores(made, capfd.readouterr().out, slow_scores(load_model(runs / "mbf"), images, scores))
    assert made == tmp_path / "out" / "ijbc.npy"


@pytest.mark.parametrize("given", ["exported", "exported/exported.onnx"])
def test_onnx_ijbc_matches_the_reference_for_exports(equipped_checkout, drawn, runs, tmp_path, capfd, given):
    root, images, scores = drawn
    made = ijb(equipped_checkout, runs / given, root, "IJBC", tmp_path)
    check_scores(made, capfd.readouterr().out, slow_scores(for_112_px(load_model(runs / NATIVE)), images, scores))
    assert [path.name for path in (runs / "exported").iterdir()] == ["exported.onnx"]


def test_ijbb_uses_its_own_file_names(standin, lay_out_ijb, drawn, runs, tmp_path):
    ijbc, images, scores = drawn
    lay_out_ijb(tmp_path / "IJBB", "IJBB", images, TEMPLATES, MEDIAS, PAIRS, scores)
    made = ijb(standin, runs / "mbf", tmp_path / "IJBB", "IJBB", tmp_path)
    assert made.name == "ijbb.npy" and len(np.load(made)) == len(PAIRS)
    with pytest.raises(FileNotFoundError, match="no IJBB as InsightFace lays it out: it has no meta/ijbb_face_tid_mid.txt"):
        ijb(standin, runs / "mbf", ijbc, "IJBB", tmp_path)


@pytest.mark.parametrize("model", [NATIVE, "exported"])
def test_upstreams_verification_equals_our_hr_row(equipped_checkout, runs, pairs_file, model):
    accuracy, std, xnorm = verify(equipped_checkout, runs / model, pairs_file)
    row = PairEvaluator(load_model(runs / (NATIVE if model == "exported" else model)), pairs_file).evaluate(112, "lr-lr")
    assert (100 * accuracy, 100 * std) == (row["accuracy"], row["accuracy_std"])
    assert xnorm > 0 and 0 < row["accuracy"] < 100 and row["accuracy"] != 50


def test_checkout_and_process_are_unchanged(equipped_checkout, drawn, runs, tmp_path):
    def files():
        return {p: hashlib.sha256(p.read_bytes()).digest() for p in Path(equipped_checkout).rglob("*.py")}

    def process():
        return [*sys.path], [*sys.argv], np.__getattr__, torch.Tensor.cuda, {"onnx_ijbc", "eval_ijbc", "mxnet"} & set(sys.modules)

    before = files(), process()
    ijb(equipped_checkout, runs / "exported", drawn[0], "IJBC", tmp_path)
    ijb(equipped_checkout, runs / "mbf", drawn[0], "IJBC", tmp_path)
    assert (files(), process()) == before and not hasattr(np, "int")


def test_spawned_workers_are_not_used(standin, drawn, runs, tmp_path):
    """A spawned worker would run without the compatibility patches."""
    usual = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        assert len(np.load(ijb(standin, runs / "exported", drawn[0], "IJBC", tmp_path))) == len(PAIRS)
    finally:
        multiprocessing.set_start_method(usual, force=True)


def test_narrow_embeddings_are_padded_with_zeros():
    x, options = torch.randn(2, 4), {}

    def get_model(name, **keywords):
        options.update(keywords, name=name)
        return torch.nn.Identity()

    out = zero_padded(4)(get_model)("r18", dropout=0)(x)
    assert out.shape == (2, 512) and torch.equal(out[:, :4], x) and not out[:, 4:].any()
    assert options == {"name": "r18", "dropout": 0, "num_features": 4}


class MaliciousPickle:
    def __reduce__(self):
        return (open, ("harm.txt", "w"))


def test_code_in_a_bin_is_not_executed(standin, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.bin").write_bytes(pickle.dumps(([MaliciousPickle()], [True])))
    with pytest.raises(ValueError, match="nothing was executed"):
        verify(standin, runs / "mbf", "bad.bin")
    assert not Path("harm.txt").exists()


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (NATIVE, ValueError, "is native16_0.05m with embeddings of .*`aird export` it and give the .onnx"),
        ("mfn.pt", ValueError, "is mfn with embeddings of 8 numbers; eval_ijbc.py supports r18"),
        ("raw", ValueError, "takes .*mean=0.0.*feeds every file by InsightFace's rule: its embeddings would be wrong"),
        ("small", ValueError, "arcface_torch refuses the .onnx file: input-size"),
        ("", FileNotFoundError, "no model in .*neither a run"),
        ("none.pt", FileNotFoundError, "no model at"),
    ],
)
def test_unsupported_models_are_rejected(standin, drawn, runs, tmp_path, model, error, message):
    with pytest.raises(error, match=message):
        ijb(standin, runs / model, drawn[0], "IJBC", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_invalid_target_and_folders_are_named(standin, drawn, runs, tmp_path):
    with pytest.raises(ValueError, match="target is one of IJBC, IJBB; got 'IJBA'"):
        ijb(standin, runs / "mbf", drawn[0], "IJBA", tmp_path)
    with pytest.raises(FileNotFoundError, match="it has no loose_crop"):
        ijb(standin, runs / "mbf", tmp_path, "IJBC", tmp_path)
    with pytest.raises(ValueError, match="no arcface_torch checkout"):
        ijb(str(tmp_path), runs / "mbf", drawn[0], "IJBC", tmp_path)


def test_missing_package_is_named_with_its_extra(standin, drawn, runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"evaluation imports onnxruntime: pip install 'aird_plugin\[ijb\]'"):
        ijb(standin, runs / "exported", drawn[0], "IJBC", tmp_path)


def png(image_HWC) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.arcface_torch
def test_real_images_give_our_figures(real_arcface_torch, lay_out_ijb, aird_data, tmp_path, capfd):
    """250 pairs of LFW as an IJB-C with one image per template: TAR of upstream's table, accuracy of upstream's folds."""
    for package in ("cv2", "insightface", "matplotlib", "menpo", "pandas", "prettytable", "skimage"):
        needs(package)
    pairs = read_pairs(aird_data / "lfw" / "lfw_view1.bin")
    kept = np.arange(0, len(pairs.same), 4)
    pairs = pairs._replace(images=[pairs.images[2 * n + side] for n in kept for side in (0, 1)], same=pairs.same[kept])
    rows = np.arange(2 * len(kept))
    listed = [(2 * n, 2 * n + 1, same) for n, same in enumerate(pairs.same)]
    images = lay_out_ijb(tmp_path / "IJBC", "IJBC", pair_faces(pairs), rows, rows, listed)
    write_pairs(tmp_path / "same.bin", [png(image) for image in images], list(pairs.same))
    model = aird_data / "teacher" / "mobilefacenet_casia.onnx"
    made = ijb(real_arcface_torch, model, tmp_path / "IJBC", "IJBC", tmp_path)
    table_row = capfd.readouterr().out.splitlines()[-2].split("|")
    row = PairEvaluator(load_model(model), tmp_path / "same.bin").evaluate(112, "lr-lr")
    assert float(table_row[-2]) == pytest.approx(100 * row["tar"]["0.1"], abs=0.005)
    assert len(np.load(made)) == len(pairs.same)
    accuracy, std, _ = verify(real_arcface_torch, model, tmp_path / "same.bin")
    assert (100 * accuracy, 100 * std) == (row["accuracy"], row["accuracy_std"]) and accuracy > 0.95
