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
from aird_plugin.data.lowres import low_faces, to_input
from aird_plugin.evaluation.embed import embed
from aird_plugin.export import check, folder, graph
from aird_plugin.export.origin import without_folders
from aird_plugin.export.thresholds import threshold_table
from aird_plugin.loop import train
from aird_plugin.models import build
from aird_plugin.models.load import load_model
from aird_plugin.recipe import from_flat
from tests.exact import rounding
from tests.skips import needs

onnx = needs("onnx")

# What an InsightFace user runs; nothing of this project is imported. Faces come and embeddings go as .npy.
AS_A_USER = """
import sys
import numpy as np
from insightface.model_zoo import get_model
path, faces, out, task = sys.argv[1:]
model = get_model(path, **({"model_task": task} if task else {}))
assert type(model).__name__ == "ArcFaceONNX" and "aird_plugin" not in sys.modules
np.save(out, model.get_feat(list(np.load(faces)[..., ::-1])))
"""


def student(name: str, width: int = 8) -> torch.nn.Module:
    """A network whose statistics and weights are no longer those it began with."""
    torch.manual_seed(3)
    network = build(name, width).train()
    for _ in range(2):
        network(torch.randn(4, 3, network.input_size, network.input_size))
    return network.eval()


def run_file(path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(path).run(None, {graph.INPUT: x})[0]


@pytest.mark.parametrize("name", ["native16_0.05m", "native24_0.1m_dw_prelu", "native112_0.05m", "mbf", "mfn", "r18"])
def test_a_file_computes_what_the_student_does(name, noise_faces, tmp_path):
    """One input, one output, any batch, nothing beside the file; a native student gets the very bytes of the one resize."""
    network, faces = student(name), noise_faces(5)
    graph.write_onnx(graph.for_112_px(network), tmp_path / "model.onnx", {"px": 16})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    seen = faces if network.input_size == 112 else low_faces(faces, network.input_size, grow=False)
    with torch.inference_mode():
        expected = network(to_input(torch.from_numpy(seen))).numpy()
    x = to_input(torch.from_numpy(faces)).contiguous().numpy()
    # The longest sum of these networks is over 25,088 numbers, iresnet's last layer; in r18 some twenty layers stand before it.
    bound = rounding(25_088, np.abs(expected).max())
    for count in (1, 2, 5):
        np.testing.assert_allclose(run_file(tmp_path / "model.onnx", x[:count]), expected[:count], rtol=0, atol=bound)
    model = onnx.load(tmp_path / "model.onnx")
    assert len(model.graph.input) == len(model.graph.output) == 1
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    told = json.loads({p.key: p.value for p in model.metadata_props}["aird_plugin"])
    assert told == {"input_size": 112, "resize": "pillow-bicubic-antialias/1", "px": 16}


@pytest.mark.parametrize("px", [8, 16, 31])
def test_the_shrinking_in_the_graph_is_the_one_resize_to_the_bit(px, noise_faces, tmp_path):
    class Seen(torch.nn.Module):
        input_size = px

        def forward(self, x):
            return x.flatten(1)

    faces = noise_faces(3, seed=px)
    faces[0], faces[1, :56] = 255, 0
    graph.write_onnx(graph.for_112_px(Seen()), tmp_path / "seen.onnx", {})
    out = run_file(tmp_path / "seen.onnx", to_input(torch.from_numpy(faces)).contiguous().numpy())
    grey = (out.reshape(3, 3, px, px) * 127.5 + 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)
    assert np.array_equal(grey, low_faces(faces, px, grow=False))


@pytest.fixture(scope="module")
def exported(tiny_run, pairs_file, tmp_path_factory):
    """A native student's run, exported by the command."""
    place = tmp_path_factory.mktemp("export")
    run = train(from_flat(tiny_run | {"output": str(place / "run"), "num_epoch": 1}))
    stand_in_detector(place / "det.onnx")
    also = ["--thresholds", pairs_file, "--server", str(place / "det.onnx")]
    assert main(["export", str(run), "--out", str(place / "tiny"), "--count", "20", *also]) == 0
    return run, place / "tiny"


def test_the_folder(exported):
    run, out = exported
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == [
        "MODEL_CARD.md", "native/manifest.json", "native/tiny_16.onnx", "server/det.onnx", "server/manifest.json",
        "server/tiny.onnx", "thresholds.json", "tiny.onnx",
    ]  # fmt: skip
    assert (out / "server" / "tiny.onnx").read_bytes() == (out / "tiny.onnx").read_bytes()
    manifest = json.loads((out / "native" / "manifest.json").read_text())
    task = manifest["tasks"]["recognition"]
    assert manifest["manifest_version"] == 2 and task["input_size"] == [16, 16] and task["embedding_dimension"] == 8
    assert task["sha256"] == hashlib.sha256((out / "native" / "tiny_16.onnx").read_bytes()).hexdigest()


def test_the_card_says_what_it_is_and_no_folder_of_its_owner(exported, tiny_run):
    run, out = exported
    card = (out / "MODEL_CARD.md").read_text()
    wanted = ("trained on 16 px faces", "pillow-bicubic-antialias/1", "48 from", "teacher.pt", "verified nothing", "inherits")
    assert all(words in card for words in wanted)
    assert str(Path(tiny_run["rec"]).parent) not in card


def test_every_file_says_what_made_it_and_nothing_of_its_owner(exported, tiny_run, pairs_file):
    run, out = exported
    facts = json.loads((run / "recipe.json").read_text())
    for path in (out / "tiny.onnx", out / "native" / "tiny_16.onnx"):
        told = json.loads({p.key: p.value for p in onnx.load(path).metadata_props}["aird_plugin"])
        assert told["recipe"]["seed"] == 0 and told["recipe"]["rec"] == "faces" and told["recipe"]["output"] == "run"
        assert told["records"] == {"file": "faces/train.rec", "sha256": facts["records"]["sha256"], "faces": 48}
        assert told["teacher"]["sha256"] == facts["teacher"]["sha256"]
        assert all(told[key] == facts[key] for key in ("versions", "code", "machine", "time"))
        assert told["exported"]["code"] == facts["code"] and "onnx" in told["exported"]["versions"]
    table = json.loads((out / "thresholds.json").read_text())
    digest = lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest()  # noqa: E731
    assert table["sha256"] == digest(out / "tiny.onnx") and table["pairs_sha256"] == digest(pairs_file)
    card = (out / "MODEL_CARD.md").read_text()
    assert f"tree {facts['code']['tree']}" in card and "Seed 0, in 1 start, the last" in card
    owner = [str(run.parent), str(Path(tiny_run["rec"]).parent), str(Path.home()) + "/", getpass.getuser() + "/", platform.node()]
    for path in (path for path in out.rglob("*") if path.is_file()):
        assert not [name for name in owner if len(name) > 5 and name.encode() in path.read_bytes()], path


def test_paths_of_either_system_are_cut_wherever_they_stand_and_accounts_are_left_out():
    recipe = {"rec": "/home/jo/faces", "bank": r"C:\Users\jo\bank", "val_targets": ["runs/jo/a.bin"], "terms": {"iid": "a.b:C"},
              "upstream": {"wandb_entity": "jo"}, "px": 16, "teacher": "~/t.onnx", "prior": None}  # fmt: skip
    told = without_folders(recipe)
    assert told == {"rec": "faces", "bank": "bank", "val_targets": ["a.bin"], "terms": {"iid": "a.b:C"}, "px": 16,
                    "teacher": "t.onnx", "prior": None}  # fmt: skip


@pytest.mark.parametrize(("file", "task", "side"), [("tiny.onnx", "", 112), ("native", "recognition", 16)])
def test_insightface_gives_the_same_embeddings_without_this_project(exported, file, task, side, noise_faces, tmp_path):
    """INSIGHTFACE_PYTHON names the Python of another environment; else this one's own InsightFace, if any."""
    python = os.environ.get("INSIGHTFACE_PYTHON")
    if not python:
        needs("insightface")
        python = sys.executable
    run, out = exported
    faces = check.seen_by(side, noise_faces(6))
    np.save(tmp_path / "faces.npy", faces)
    command = [python, "-I", "-c", AS_A_USER, str(out / file), str(tmp_path / "faces.npy"), str(tmp_path / "out.npy"), task]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = embed(load_model(run), check.seen_by(16, noise_faces(6)), flip=False)
    assert check.least_cosine(np.load(tmp_path / "out.npy"), expected) >= 0.9999


def test_a_threshold_does_on_insightfaces_embeddings_what_the_table_says(exported, pairs_file):
    """Without a mirrored face; few impostors leave the rarer rates open."""
    from aird_plugin.data.pairs import pair_faces, read_pairs

    _, out = exported
    table = json.loads((out / "thresholds.json").read_text())
    ranges = [(row["px"], row["to_px"]) for row in table["rows"]]
    assert ranges == [(16, 23), (24, 31), (32, 47), (48, 63), (64, 111), (112, None)]
    card = (out / "MODEL_CARD.md").read_text()
    assert "| face, px | FAR 0.1 | FAR 0.01 | FAR 0.001 |" in card and "rate on 20 impostor pairs" in card and "| - |" in card
    assert "| 16 to 23 |" in card and "| 112 and more |" in card and "Below 16 px" in card
    pairs = read_pairs(pairs_file)
    points = threshold_table(load_model(out / "tiny.onnx"), pairs_file, sides=(24,))["rows"][0]["points"]
    assert [point["cosine"] for point in points] == [None, None, None], "20 impostors support none of these rates"
    e = run_file(out / "tiny.onnx", to_input(torch.from_numpy(low_faces(pair_faces(pairs), 24))).contiguous().numpy())
    e = e / np.linalg.norm(e, axis=1, keepdims=True)
    cosine = (e[0::2] * e[1::2]).sum(1)
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.evaluation.verification import operating_points

    session = Session(load_model(out / "tiny.onnx"), pairs_file, flip=False)
    (point,) = operating_points(session.embeddings(24, "lr-lr"), session.same_N, fars=(0.5,))
    assert point["tar"] == pytest.approx((cosine[pairs.same] > point["cosine"] + 1e-9).mean())
    assert (cosine[~pairs.same] > point["cosine"] + 1e-6).mean() <= 0.5


def test_thresholds_are_for_faces_as_face_analysis_brings_them(exported, pairs_file, monkeypatch):
    """Warped up, no mirrored face."""
    from aird_plugin.evaluation.protocol import Session
    from aird_plugin.export import thresholds

    opened, roads = [], []

    def note(*args, **options):
        opened.append(Session(*args, **options))
        embeddings = opened[-1].embeddings
        opened[-1].embeddings = lambda *a, **o: roads.append(o["degradation"]) or embeddings(*a, **o)
        return opened[-1]

    monkeypatch.setattr(thresholds, "Session", note)
    threshold_table(load_model(exported[1] / "tiny.onnx"), pairs_file, sides=(16,))
    assert [session.flip for session in opened] == [False] and roads == ["insightface-warp"]


def test_the_px_file_evaluates_as_the_run_does(exported, pairs_file, tmp_path):
    """The native file at its px, and the 112 px file on untouched faces, are the same question."""
    run, out = exported
    answers = []
    for model, px in ((run, "16"), (out / "native" / "tiny_16.onnx", "16"), (out / "tiny.onnx", "112")):
        command = ["evaluate", str(model), "--pairs", pairs_file, "--px", px, "--json", str(tmp_path / "rows.json")]
        assert main(command) == 0
        answers.append(json.loads((tmp_path / "rows.json").read_text())[0]["accuracy"])
    assert answers[0] == answers[1] == answers[2]


def test_a_file_that_differs_is_refused_and_nothing_is_left(exported, noise_faces, tmp_path, monkeypatch, capsys):
    run, _ = exported
    write = graph.write_onnx

    def broken(network, path, facts):
        with torch.no_grad():
            next(parameter for parameter in network.parameters() if parameter.ndim == 4).mul_(-1.0)
        write(network, path, facts)

    monkeypatch.setattr(folder, "write_onnx", broken)
    assert main(["export", str(run), "--out", str(tmp_path / "bad")]) == 1
    assert "gives other embeddings than the student" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "words"), [
    (["--out", "{tmp}/full"], "is there already and is not empty"),
    (["--out", "{tmp}/-odd name"], "the folder's name becomes the model's"),
    (["--out", "{tmp}/a", "--count", "0"], "--count must be 1 or more"),
    (["--out", "{tmp}/a", "--faces", "{tmp}/nowhere"], "nowhere"),
    (["--out", "{tmp}/a", "--server", "{tmp}/nowhere.onnx"], "nowhere.onnx: no such .onnx file"),
])  # fmt: skip
def test_what_cannot_be_exported_is_one_line(arguments, words, exported, tmp_path, capsys):
    run, _ = exported
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("mine")
    assert main(["export", str(run), *(word.format(tmp=tmp_path) for word in arguments)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ") and words in told and told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_file_alone_is_no_run(exported, tmp_path, capsys):
    run, _ = exported
    shutil.copy(run / "model.pt", tmp_path)
    assert main(["export", str(tmp_path / "model.pt"), "--out", str(tmp_path / "a")]) == 1
    assert "is no run folder" in capsys.readouterr().err


def test_faces_are_taken_from_pairs_records_and_folders(tiny_run, pairs_file):
    assert check.sample_faces(pairs_file, 7).shape == (7, 112, 112, 3)
    assert check.sample_faces(tiny_run["rec"], 100).shape == (48, 112, 112, 3)
    assert not np.array_equal(check.sample_faces(pairs_file, 7)[0], check.sample_faces(pairs_file, 7)[1])


@pytest.mark.slow
def test_the_real_teacher_exported_is_the_file_that_came(aird_data, tmp_path):
    """A hundred real faces: our graph of the .pt against the .onnx that somebody else exported from the same weights."""
    network = load_model(aird_data / "teacher" / "mobilefacenet_casia.pt")
    graph.write_onnx(graph.for_112_px(network), tmp_path / "ours.onnx", {})
    faces = check.sample_faces(str(aird_data / "lfw" / "lfw_split.bin"), 100)
    x = to_input(torch.from_numpy(faces)).contiguous().numpy()
    import onnxruntime

    theirs = onnxruntime.InferenceSession(aird_data / "teacher" / "mobilefacenet_casia.onnx")
    expected = theirs.run(None, {theirs.get_inputs()[0].name: x})[0]
    assert check.least_cosine(run_file(tmp_path / "ours.onnx", x), expected) > 0.99999


def stand_in_detector(path: Path) -> None:
    """A graph that InsightFace takes for a detector: nine outputs, which find nothing."""
    from onnx import TensorProto, helper

    shapes = [(rows, columns) for columns in (1, 4, 10) for rows in (12800, 3200, 800)]
    outputs = [helper.make_tensor_value_info(f"out{n}", TensorProto.FLOAT, shape) for n, shape in enumerate(shapes)]
    zeros = [helper.make_tensor("zeros", TensorProto.FLOAT, shape, np.zeros(shape, np.float32)) for shape in shapes]
    nodes = [helper.make_node("Constant", [], [f"out{n}"], value=zero) for n, zero in enumerate(zeros)]
    faces = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    graph_ = helper.make_graph(nodes, "detector", [faces], outputs)
    onnx.save(helper.make_model(graph_, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def test_face_analysis_finds_the_student_beside_a_detector(exported, noise_faces, tmp_path):
    """The folder under ROOT/models/NAME with a detector in it. The detector is a stand-in; landmarks are the template's own."""
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
    face_HWC = noise_faces(1)[0]
    found = Face(kps=np.array(arcface_dst, np.float32))
    app.models["recognition"].get(np.ascontiguousarray(face_HWC[..., ::-1]), found)
    expected = embed(load_model(run), check.seen_by(16, face_HWC[None]), flip=False)
    assert check.least_cosine(found.embedding[None], expected) >= 0.9999


@pytest.mark.arcface_torch
def test_the_challenge_checker_takes_the_112_px_file(exported, real_arcface_torch, tmp_path, monkeypatch):
    """ArcFaceORT.check, unmodified: None is its word for yes. The px file is against its rule of one size, as the card says."""
    import shutil

    from aird_plugin.bridge import checkout

    needs("insightface")
    _, out = exported
    shutil.copytree(out, tmp_path / "tiny")
    with checkout.importable(checkout.find(real_arcface_torch, "onnx_helper")):
        from onnx_helper import ArcFaceORT

        assert ArcFaceORT(str(tmp_path / "tiny"), cpu=True).check(track="cfat") is None
        assert "input-size" in ArcFaceORT(str(tmp_path / "tiny" / "native"), cpu=True).check(track="cfat")
