import getpass
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.lowres import low_faces, to_input
from aird_plugin.evaluation.embed import embed
from aird_plugin.export import check, folder, graph
from aird_plugin.export.origin import without_folders
from aird_plugin.export.thresholds import threshold_table
from aird_plugin.export.thresholds_file import check_owner, read_thresholds
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from aird_plugin.training.loop import train
from tests.exact import rounding
from tests.skips import needs

onnx = needs("onnx")

# An InsightFace user's script, which imports nothing of this project. Images in and embeddings out are .npy files.
USER_SCRIPT = """
import sys
import numpy as np
from insightface.model_zoo import get_model
path, images, out, task = sys.argv[1:]
model = get_model(path, **({"model_task": task} if task else {}))
assert type(model).__name__ == "ArcFaceONNX" and "aird_plugin" not in sys.modules
np.save(out, model.get_feat(list(np.load(images)[..., ::-1])))
"""


def student(name: str, width: int = 8) -> torch.nn.Module:
    """A network whose BatchNorm statistics are no longer the initial ones."""
    torch.manual_seed(3)
    network = build(name, width).train()
    for _ in range(2):
        network(torch.randn(4, 3, network.input_size, network.input_size))
    return network.eval()


def run_file(path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {graph.INPUT: x})[0]


@pytest.mark.parametrize(
    "name", ["native16_0.05m", "native24_0.1m_dw_prelu", "native16_0.05m_gdc", "native112_0.05m", "mbf", "mfn", "r18"]
)
def test_exported_file_equals_the_student(name, noise_faces, tmp_path):
    """One input, one output, any batch size, no external data; a native student's input is the reference resize to the bit."""
    network, images = student(name), noise_faces(5)
    graph.write_onnx(graph.for_112_px(network), tmp_path / "model.onnx", {"px": 16})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    inputs = images if network.input_size == 112 else low_faces(images, network.input_size, grow=False)
    with torch.inference_mode():
        expected = network(to_input(torch.from_numpy(inputs))).numpy()
    x = to_input(torch.from_numpy(images)).contiguous().numpy()
    # The longest sum of these networks has 25,088 terms, iresnet's last layer, behind some twenty layers in r18.
    bound = rounding(25_088, np.abs(expected).max())
    for count in (1, 2, 5):
        np.testing.assert_allclose(run_file(tmp_path / "model.onnx", x[:count]), expected[:count], rtol=0, atol=bound)
    model = onnx.load(tmp_path / "model.onnx")
    assert len(model.graph.input) == len(model.graph.output) == 1
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    properties = json.loads({p.key: p.value for p in model.metadata_props}["aird_plugin"])
    assert properties == {"input_size": 112, "resize": "pillow-bicubic-antialias/1", "px": 16}


@pytest.mark.parametrize("px", [8, 16, 31])
def test_resize_in_the_graph_equals_the_reference_resize_to_the_bit(px, noise_faces, tmp_path):
    class Identity(torch.nn.Module):
        input_size = px

        def forward(self, x):
            return x.flatten(1)

    images = noise_faces(3, seed=px)
    images[0], images[1, :56] = 255, 0
    graph.write_onnx(graph.for_112_px(Identity()), tmp_path / "identity.onnx", {})
    out = run_file(tmp_path / "identity.onnx", to_input(torch.from_numpy(images)).contiguous().numpy())
    grey = (out.reshape(3, 3, px, px) * 127.5 + 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)
    assert np.array_equal(grey, low_faces(images, px, grow=False))


@pytest.fixture(scope="module")
def exported(tiny_run, pairs_file, tmp_path_factory):
    """A native student's run, and its folder exported by the command."""
    root = tmp_path_factory.mktemp("export")
    run = train(from_flat(tiny_run | {"output": str(root / "run"), "num_epoch": 1}))
    stand_in_detector(root / "det.onnx")
    options = ["--thresholds", pairs_file, "--server", str(root / "det.onnx"), "--safetensors"]
    assert main(["export", str(run), "--out", str(root / "tiny"), "--count", "20", *options]) == 0
    return run, root / "tiny"


def test_thresholds_of_too_few_impostor_pairs_are_a_warning(exported, pairs_file, tmp_path, capsys):
    run, _ = exported
    capsys.readouterr()
    assert main(["export", str(run), "--out", str(tmp_path / "few"), "--count", "8", "--thresholds", pairs_file]) == 0
    [warning] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("WARNING ")]
    assert "pairs.bin has 20 impostor pairs; 100 are needed for a false-accept rate of 0.1" in warning
    assert "no threshold" in warning


def test_card_has_no_accuracy_of_other_weights(exported, tmp_path, capsys):
    """A run that was started again, or continued without an evaluation, keeps its former evaluation.json."""
    run, _ = exported
    again = tmp_path / "again"
    shutil.copytree(run, again)
    made = {"made": {"sha256": {"student": hashlib.sha256((again / "model.pt").read_bytes()).hexdigest()}}}
    row = {"pairs": "lfw.bin", "n_pairs": 9, "px": 16, "protocol": "lr-lr", "high_side": None, "facebn": None, "accuracy": 77.5}
    (again / "evaluation.json").write_text(json.dumps([row | {"ci95": [70, 80]} | made]))
    cards = []
    for name in ("same", "other"):
        if name == "other":
            torch.save({key: 1.01 * value for key, value in torch.load(again / "model.pt").items()}, again / "model.pt")
        out = tmp_path / name
        assert main(["export", str(again), "--out", str(out), "--count", "8"]) == 0
        cards.append("77.50" in (out / "MODEL_CARD.md").read_text())
    assert cards == [True, False]
    assert "evaluation.json is of other weights than" in capsys.readouterr().err


def test_every_file_beside_the_networks_is_printed(exported, pairs_file, tmp_path, capsys):
    run, out = exported[0], tmp_path / "small"
    options = ["--count", "8", "--thresholds", pairs_file, "--safetensors"]
    assert main(["export", str(run), "--out", str(out), *options]) == 0
    printed = {line.partition(":")[0] for line in capsys.readouterr().out.splitlines()}
    assert printed >= {str(out / name) for name in ("thresholds.json", "model.safetensors", "MODEL_CARD.md")}


def test_folder_layout(exported):
    run, out = exported
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == [
        "MODEL_CARD.md",
        "model.safetensors",
        "native/manifest.json",
        "native/tiny_16.onnx",
        "server/det.onnx",
        "server/manifest.json",
        "server/tiny.onnx",
        "thresholds.json",
        "tiny.onnx",
    ]
    assert (out / "server" / "tiny.onnx").read_bytes() == (out / "tiny.onnx").read_bytes()
    manifest = json.loads((out / "native" / "manifest.json").read_text())
    task = manifest["tasks"]["recognition"]
    assert manifest["manifest_version"] == 2 and task["input_size"] == [16, 16] and task["embedding_dimension"] == 8
    assert task["sha256"] == hashlib.sha256((out / "native" / "tiny_16.onnx").read_bytes()).hexdigest()


def test_safetensors_are_the_students_weights(exported, noise_faces):
    """Read by the package of that name alone, and as a model of ours."""
    run, out = exported
    state = torch.load(run / "model.pt", weights_only=True)
    found = needs("safetensors.torch").load_file(out / "model.safetensors")
    assert found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)
    models = load_model(out / "model.safetensors", "native16_0.05m"), load_model(run)
    one, other = (embed(model, low_faces(noise_faces(4), 16, grow=False), flip=False, label="") for model in models)
    assert np.array_equal(one, other)


def test_card_names_the_model_and_no_private_folder(exported, tiny_run):
    run, out = exported
    card = (out / "MODEL_CARD.md").read_text()
    expected = (
        "trained on 16 px images",
        "pillow-bicubic-antialias/1",
        "48 from",
        "teacher.pt",
        "no verification results",
        "inherits",
    )
    assert all(words in card for words in expected)
    assert str(Path(tiny_run["rec"]).parent) not in card


def test_files_hold_provenance_but_no_private_names(exported, tiny_run, pairs_file):
    run, out = exported
    metadata = json.loads((run / "recipe.json").read_text())
    for path in (out / "tiny.onnx", out / "native" / "tiny_16.onnx"):
        stored = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["aird_plugin"])
        assert stored["recipe"]["seed"] == 0 and stored["recipe"]["rec"] == "faces" and stored["recipe"]["output"] == "run"
        assert stored["records"] == {"file": "faces/train.rec", "sha256": metadata["records"]["sha256"], "faces": 48}
        assert stored["teacher"]["sha256"] == metadata["teacher"]["sha256"]
        assert all(stored[key] == metadata[key] for key in ("versions", "code", "machine", "time"))
        assert stored["exported"]["code"] == metadata["code"] and "onnx" in stored["exported"]["versions"]
    table = json.loads((out / "thresholds.json").read_text())
    digest = lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest()  # noqa: E731
    assert table["sha256"] == digest(out / "tiny.onnx") and table["pairs_sha256"] == digest(pairs_file)
    card = (out / "MODEL_CARD.md").read_text()
    assert f"tree {metadata['code']['tree']}" in card and "Seed 0, in 1 start, the last" in card
    private = [
        str(run.parent),
        str(Path(tiny_run["rec"]).parent),
        str(Path.home()) + "/",
        getpass.getuser() + "/",
        platform.node(),
    ]
    for path in (path for path in out.rglob("*") if path.is_file()):
        assert not [name for name in private if len(name) > 5 and name.encode() in path.read_bytes()], path


def test_paths_are_cut_and_private_keys_are_removed():
    recipe = {
        "rec": "/home/jo/faces",
        "bank": r"C:\Users\jo\bank",
        "val_targets": ["runs/jo/a.bin"],
        "terms": {"iid": "a.b:C"},
        "upstream": {"wandb_entity": "jo"},
        "px": 16,
        "teacher": "~/t.onnx",
        "prior": None,
    }
    assert without_folders(recipe) == {
        "rec": "faces",
        "bank": "bank",
        "val_targets": ["a.bin"],
        "terms": {"iid": "a.b:C"},
        "px": 16,
        "teacher": "t.onnx",
        "prior": None,
    }


@pytest.mark.parametrize(("file", "task", "side"), [("tiny.onnx", "", 112), ("native", "recognition", 16)])
def test_insightface_alone_gives_the_same_embeddings(exported, file, task, side, noise_faces, tmp_path):
    """INSIGHTFACE_PYTHON names the Python of another environment; without it this environment's InsightFace is used."""
    python = os.environ.get("INSIGHTFACE_PYTHON")
    if not python:
        needs("insightface")
        python = sys.executable
    run, out = exported
    np.save(tmp_path / "images.npy", check.resize_to_side(side, noise_faces(6)))
    command = [python, "-I", "-c", USER_SCRIPT, str(out / file), str(tmp_path / "images.npy"), str(tmp_path / "out.npy"), task]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = embed(load_model(run), check.resize_to_side(16, noise_faces(6)), flip=False)
    assert check.minimum_cosine(np.load(tmp_path / "out.npy"), expected) >= 0.9999


def test_thresholds_hold_on_insightfaces_embeddings(exported, pairs_file):
    """Without a flipped image; few impostor pairs leave the lower rates empty."""
    from aird_plugin.data.pairs import pair_faces, read_pairs

    _, out = exported
    table = json.loads((out / "thresholds.json").read_text())
    ranges = [(row["px"], row["to_px"]) for row in table["rows"]]
    assert ranges == [(16, 23), (24, 31), (32, 47), (48, 63), (64, 111), (112, None)]
    card = (out / "MODEL_CARD.md").read_text()
    assert "| face, px | FAR 0.1 | FAR 0.01 | FAR 0.001 |" in card and "on 20 impostor pairs" in card and "| - |" in card
    assert "| 16 to 23 |" in card and "| 112 and more |" in card and "Below 16 px" in card
    pairs = read_pairs(pairs_file)
    points = threshold_table(load_model(out / "tiny.onnx"), pairs_file, sides=(24,))["rows"][0]["points"]
    assert [point["cosine"] for point in points] == [None, None, None], "20 impostors support none of these rates"
    e = run_file(out / "tiny.onnx", to_input(torch.from_numpy(low_faces(pair_faces(pairs), 24))).contiguous().numpy())
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    cosine = (e[0::2] * e[1::2]).sum(1)
    from aird_plugin.evaluation.pair_evaluator import PairEvaluator
    from aird_plugin.evaluation.verification import operating_points

    evaluator = PairEvaluator(load_model(out / "tiny.onnx"), pairs_file, flip=False)
    (point,) = operating_points(evaluator.embeddings(24, "lr-lr"), evaluator.same_N, fars=(0.5,))
    assert point["tar"] == pytest.approx((cosine[pairs.same] > point["cosine"] + 1e-9).mean())
    assert (cosine[~pairs.same] > point["cosine"] + 1e-6).mean() <= 0.5


def test_thresholds_belong_to_every_form_of_the_model(exported):
    run, out = exported
    table = read_thresholds(out / "thresholds.json")
    for model in (run, run / "model.pt", out, out / "tiny.onnx", out / "native" / "tiny_16.onnx"):
        # Away from the exported folder, the weights alone tell.
        assert check_owner("thresholds.json", table, str(model), load_model(model)) == ""


def test_thresholds_use_face_analysis_preprocessing(exported, pairs_file, monkeypatch):
    """Warped to 112 px, without a flipped image."""
    from aird_plugin.evaluation.pair_evaluator import PairEvaluator
    from aird_plugin.export import thresholds

    evaluators, degradations = [], []

    def recorded(*args, **options):
        evaluators.append(PairEvaluator(*args, **options))
        embeddings = evaluators[-1].embeddings
        evaluators[-1].embeddings = lambda *a, **o: degradations.append(o["degradation"]) or embeddings(*a, **o)
        return evaluators[-1]

    monkeypatch.setattr(thresholds, "PairEvaluator", recorded)
    threshold_table(load_model(exported[1] / "tiny.onnx"), pairs_file, sides=(16,))
    assert [evaluator.flip for evaluator in evaluators] == [False] and degradations == ["insightface-warp"]


def test_exported_files_have_the_accuracy_of_the_run(exported, pairs_file, tmp_path):
    """The native file at its px and the 112 px file on 112 px images are equivalent."""
    run, out = exported
    accuracies = []
    for model, px in ((run, "16"), (out / "native" / "tiny_16.onnx", "16"), (out / "tiny.onnx", "112")):
        command = ["evaluate", str(model), "--pairs", pairs_file, "--px", px, "--json", str(tmp_path / "rows.json")]
        assert main(command) == 0
        accuracies.append(json.loads((tmp_path / "rows.json").read_text())[0]["accuracy"])
    assert accuracies[0] == accuracies[1] == accuracies[2]


def test_file_with_other_embeddings_is_rejected_and_removed(exported, noise_faces, tmp_path, monkeypatch, capsys):
    run, _ = exported
    write = graph.write_onnx

    def broken(network, path, facts):
        with torch.no_grad():
            next(parameter for parameter in network.parameters() if parameter.ndim == 4).mul_(-1.0)
        write(network, path, facts)

    monkeypatch.setattr(folder, "write_onnx", broken)
    assert main(["export", str(run), "--out", str(tmp_path / "bad")]) == 1
    assert "differs from the student" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "{tmp}/full"], "exists and is not empty"),
        (["--out", "{tmp}/-odd name"], "the folder's name is the model's name"),
        (["--out", "{tmp}/a", "--count", "0"], "--count must be 1 or more"),
        (["--out", "{tmp}/a", "--faces", "{tmp}/nowhere"], "nowhere"),
        (["--out", "{tmp}/a", "--server", "{tmp}/nowhere.onnx"], "nowhere.onnx: no such .onnx file"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, words, exported, tmp_path, capsys):
    run, _ = exported
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("mine")
    assert main(["export", str(run), *(word.format(tmp=tmp_path) for word in arguments)]) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ") and words in text and text.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_model_file_without_run_folder_is_rejected(exported, tmp_path, capsys):
    run, _ = exported
    shutil.copy(run / "model.pt", tmp_path)
    assert main(["export", str(tmp_path / "model.pt"), "--out", str(tmp_path / "a")]) == 1
    assert "is no run folder" in capsys.readouterr().err


def test_images_are_sampled_from_pairs_and_records(tiny_run, pairs_file):
    assert check.sample_faces(pairs_file, 7).shape == (7, 112, 112, 3)
    assert check.sample_faces(tiny_run["rec"], 100).shape == (48, 112, 112, 3)
    assert not np.array_equal(check.sample_faces(pairs_file, 7)[0], check.sample_faces(pairs_file, 7)[1])


@pytest.mark.slow
def test_export_of_the_real_teacher_equals_its_published_file(aird_data, tmp_path):
    """A hundred real images: the export of the .pt against the published .onnx of the same weights."""
    network = load_model(aird_data / "teacher" / "mobilefacenet_casia.pt")
    graph.write_onnx(graph.for_112_px(network), tmp_path / "exported.onnx", {})
    images = check.sample_faces(str(aird_data / "lfw" / "lfw_split.bin"), 100)
    x = to_input(torch.from_numpy(images)).contiguous().numpy()
    import onnxruntime

    published = onnxruntime.InferenceSession(aird_data / "teacher" / "mobilefacenet_casia.onnx")
    expected = published.run(None, {published.get_inputs()[0].name: x})[0]
    assert check.minimum_cosine(run_file(tmp_path / "exported.onnx", x), expected) > 0.99999


def stand_in_detector(path: Path) -> None:
    """A graph that InsightFace loads as a detector: nine outputs without a detection."""
    from onnx import TensorProto, helper

    shapes = [(rows, columns) for columns in (1, 4, 10) for rows in (12800, 3200, 800)]
    outputs = [helper.make_tensor_value_info(f"out{n}", TensorProto.FLOAT, shape) for n, shape in enumerate(shapes)]
    zeros = [helper.make_tensor("zeros", TensorProto.FLOAT, shape, np.zeros(shape, np.float32)) for shape in shapes]
    nodes = [helper.make_node("Constant", [], [f"out{n}"], value=zero) for n, zero in enumerate(zeros)]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph_ = helper.make_graph(nodes, "detector", [image], outputs)
    onnx.save(helper.make_model(graph_, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def test_face_analysis_loads_the_student_and_a_detector(exported, noise_faces, tmp_path):
    """The folder under ROOT/models/NAME with a stand-in detector in it; the landmarks are those of the template."""
    needs("insightface")
    import shutil

    from insightface.app import FaceAnalysis
    from insightface.app.common import Face
    from insightface.utils.face_align import arcface_dst

    run, out = exported
    shutil.copytree(out, tmp_path / "models" / "tiny")
    stand_in_detector(tmp_path / "models" / "tiny" / "a_detector.onnx")
    app = FaceAnalysis(name="tiny", root=str(tmp_path), providers=["CPUExecutionProvider"])
    assert set(app.models) == {"detection", "recognition"}
    image_HWC = noise_faces(1)[0]
    face = Face(kps=np.array(arcface_dst, np.float32))
    app.models["recognition"].get(np.ascontiguousarray(image_HWC[..., ::-1]), face)
    expected = embed(load_model(run), check.resize_to_side(16, image_HWC[None]), flip=False)
    assert check.minimum_cosine(face.embedding[None], expected) >= 0.9999


@pytest.mark.arcface_torch
def test_challenge_checker_accepts_the_112_px_file(exported, real_arcface_torch, tmp_path, monkeypatch):
    """ArcFaceORT.check, unmodified, returns None for an accepted file. It rejects the native file's input size."""
    import shutil

    from aird_plugin.bridge import checkout

    needs("insightface")
    _, out = exported
    shutil.copytree(out, tmp_path / "tiny")
    with checkout.importable(checkout.find(real_arcface_torch, "onnx_helper")):
        from onnx_helper import ArcFaceORT

        assert ArcFaceORT(str(tmp_path / "tiny"), cpu=True).check(track="cfat") is None
        assert "input-size" in ArcFaceORT(str(tmp_path / "tiny" / "native"), cpu=True).check(track="cfat")
