import json

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.adaptation.adapt import adapt, spread
from aird_plugin.adaptation.doubts import doubts, sharper_share, sharpness
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.lowres import low_faces
from aird_plugin.evaluation.embed import embed, network_inputs
from aird_plugin.loop import train
from aird_plugin.models import build
from aird_plugin.models.facebn import FaceBN
from aird_plugin.models.load import load_model
from aird_plugin.recipe import from_flat


@pytest.fixture
def student():
    torch.manual_seed(1)
    network = build("native16_0.05m", 8).train()
    network(torch.randn(8, 3, 16, 16))
    return network.eval()


def low(noise_faces, count: int) -> np.ndarray:
    return low_faces(noise_faces(count), 16, grow=False)


def test_the_new_statistics_are_facebns_and_the_student_is_left_alone(student, noise_faces):
    faces, before = low(noise_faces, 30), {name: value.clone() for name, value in student.state_dict().items()}
    adapted = adapt(student, faces, keep=0.3, batch=12)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items()) and not student.training
    with FaceBN(student, 0.3, "full") as bn, torch.inference_mode():
        bn.adapt(x for _, x in network_inputs(faces, 12, 0))
        for name, value in student.state_dict().items():
            torch.testing.assert_close(adapted.state[name], value)
        expected = embed(student, faces)
    changed = {name for name, value in adapted.state.items() if not torch.equal(value, before[name])}
    assert changed and all(name.endswith(("running_mean", "running_var")) and "features" not in name for name in changed)
    other = build("native16_0.05m", 8).eval()
    other.load_state_dict(adapted.state)
    np.testing.assert_allclose(embed(other, faces), expected, atol=1e-5)
    assert adapted.after == spread(expected) and adapted.before == spread(embed(student, faces))


def test_what_moved_is_told_in_old_standard_deviations(student, noise_faces):
    """keep=1 moves nothing; keep=0 gives the faces' own statistics."""
    faces = low(noise_faces, 24)
    still = adapt(student, faces, keep=1.0)
    assert all(layer.mean_step == 0 and layer.variance_factor == 1 for layer in still.layers)
    first = adapt(student, faces, keep=0.0, batch=24).layers[0]
    x = next(iter(network_inputs(faces, 24)))[1]
    with torch.inference_mode():
        seen = student.stages[0][0][0](x)
    norm = student.stages[0][0][1]
    mean, var = seen.mean((0, 2, 3)), seen.var((0, 2, 3), unbiased=False)
    step = ((mean - norm.running_mean) ** 2 / (norm.running_var + norm.eps)).mean().sqrt().item()
    assert first.layer == "stages.0.0.1" and first.mean_step == pytest.approx(step, rel=1e-3)
    assert first.variance_factor == pytest.approx(((var + norm.eps) / (norm.running_var + norm.eps)).median().item(), rel=1e-3)


def test_networks_and_faces_that_cannot_be_adapted(student, noise_faces):
    with pytest.raises(ValueError, match="no BatchNorm layer"):
        adapt(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 8)), low(noise_faces, 4))
    with pytest.raises(ValueError, match="give two or more"):
        adapt(student, low(noise_faces, 1))


def test_few_faces_and_one_person_are_doubted(noise_faces):
    assert doubts(noise_faces(250), 0.1, 16) == []
    assert ["are few" in doubt for doubt in doubts(noise_faces(20), 0.1, 16)] == [True]
    assert ["of one person" in doubt for doubt in doubts(noise_faces(250), 0.8, 16)] == [True]


@pytest.mark.parametrize(("low_ones", "told"), [(0, False), (10, False), (100, True), (200, True), (245, False), (250, False)])
def test_high_and_low_faces_together_are_doubted(low_ones, told, noise_faces):
    """Below a tenth on either side they are strays."""
    faces = noise_faces(250)
    faces[:low_ones] = low_faces(faces[:low_ones], 16) if low_ones else faces[:0]
    found = doubts(faces, 0.1, 16)
    assert bool(found) == told and all("sharper than the rest" in doubt for doubt in found)
    if told:
        assert sharper_share(sharpness(faces, 16)) == pytest.approx(1 - low_ones / 250)


def test_faces_that_are_all_alike_are_of_one_kind():
    assert sharper_share(np.ones(5)) is None and sharper_share(np.ones(1)) is None


def test_faces_of_every_sharpness_are_of_one_kind():
    assert sharper_share(np.exp(np.linspace(0, 3, 250))) is None


@pytest.fixture(scope="module")
def run_folder(tiny_run, tmp_path_factory):
    return train(from_flat(tiny_run | {"output": str(tmp_path_factory.mktemp("adapt") / "run"), "num_epoch": 1}))


@pytest.fixture(params=["folder", "bin", "rec"])
def camera(request, tiny_run, pairs_file, noise_faces, tmp_path) -> tuple[str, int]:
    """A user's faces, and how many they are."""
    if request.param != "folder":
        return {"bin": (pairs_file, 80), "rec": (tiny_run["rec"], 48)}[request.param]
    pictures = tmp_path / "camera" / "monday"
    pictures.mkdir(parents=True)
    for number, face in enumerate(noise_faces(6)):
        (pictures / f"{number}.jpg").write_bytes(encode_jpeg(face if number else face[:64, :64]))
    return str(tmp_path / "camera"), 6


def test_the_command_makes_a_run_that_evaluates_and_exports(run_folder, camera, pairs_file, noise_faces, tmp_path, capsys):
    source, count = camera
    out = tmp_path / "adapted"
    assert main(["adapt", str(run_folder), source, "--out", str(out), "--keep", "0.5"]) == 0
    told = capsys.readouterr().out
    assert f"of your {count} faces" in told and "stages.0.0.1" in told and "are few" in told
    done = json.loads((out / "recipe.json").read_text())["adapted"]
    assert (done["faces"], done["keep"], done["px"]) == (count, 0.5, None)
    faces = low(noise_faces, 4)
    assert not np.allclose(embed(load_model(out), faces), embed(load_model(run_folder), faces), atol=1e-4)
    assert main(["evaluate", str(out), "--pairs", pairs_file, "--px", "16"]) == 0
    assert main(["export", str(out), "--out", str(tmp_path / "model"), "--count", "8"]) == 0
    assert f"adapted to {count} unlabelled faces" in (tmp_path / "model" / "MODEL_CARD.md").read_text()


def test_px_shrinks_the_faces_first(run_folder, tiny_run, tmp_path):
    for name, more in (("as_they_are", []), ("shrunk", ["--px", "8"])):
        assert main(["adapt", str(run_folder), tiny_run["rec"], "--out", str(tmp_path / name), *more]) == 0
    one, other = (torch.load(tmp_path / name / "model.pt", weights_only=True) for name in ("as_they_are", "shrunk"))
    assert not torch.equal(one["stages.0.0.1.running_var"], other["stages.0.0.1.running_var"])


def test_what_cannot_be_adapted_is_one_line(run_folder, tiny_run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    file = tmp_path / "model.onnx"
    file.write_bytes(b"")
    for model, faces, out, words in [
        (file, tiny_run["rec"], "new", "An .onnx file has no BatchNorm left"),
        (run_folder, tiny_run["rec"], "full", "is there already"),
        (run_folder, tmp_path / "empty", "new", "holds 0 picture(s)"),
        (run_folder, tmp_path / "nowhere", "new", "no faces at"),
    ]:
        assert main(["adapt", str(model), str(faces), "--out", str(tmp_path / out)]) == 1
        told = capsys.readouterr().err
        assert told.startswith("error: ") and words in told and told.count("\n") == 1
    assert main(["adapt", str(run_folder), tiny_run["rec"], "--out", str(tmp_path / "new"), "--px", "3"]) == 1
    assert "whole number from 4 to 112" in capsys.readouterr().err and not (tmp_path / "new").exists()
