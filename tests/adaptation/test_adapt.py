import json

import numpy as np
import pytest
import torch

from aird_plugin.__main__ import main
from aird_plugin.adaptation.adapt import adapt, cosine_stats
from aird_plugin.adaptation.warnings import dataset_warnings, sharper_fraction, sharpness
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.images import encode_jpeg
from aird_plugin.data.lowres import low_faces
from aird_plugin.data.pairs import write_pairs
from aird_plugin.data.recordio.face_records import write_face_records
from aird_plugin.data.unlabelled_faces import read_faces
from aird_plugin.evaluation.embed import embed, network_inputs
from aird_plugin.models import build
from aird_plugin.models.facebn import FaceBN
from aird_plugin.models.load import load_model
from aird_plugin.training.loop import train
from tests.runs import weights


@pytest.fixture
def student():
    torch.manual_seed(1)
    network = build("native16_0.05m", 8).train()
    network(torch.randn(8, 3, 16, 16))
    return network.eval()


def lr_images(noise_faces, count: int) -> np.ndarray:
    return low_faces(noise_faces(count), 16, grow=False)


def test_adapted_statistics_equal_facebn_and_the_student_is_unchanged(student, noise_faces):
    images, before = lr_images(noise_faces, 30), {name: value.clone() for name, value in student.state_dict().items()}
    adapted = adapt(student, images, keep=0.3, batch=12)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items()) and not student.training
    with FaceBN(student, 0.3, "full") as bn, torch.inference_mode():
        bn.adapt(x for _, x in network_inputs(images, 12, 0))
        for name, value in student.state_dict().items():
            torch.testing.assert_close(adapted.state[name], value)
        expected = embed(student, images)
    changed = {name for name, value in adapted.state.items() if not torch.equal(value, before[name])}
    assert changed and all(name.endswith(("running_mean", "running_var")) and "features" not in name for name in changed)
    other = build("native16_0.05m", 8).eval()
    other.load_state_dict(adapted.state)
    np.testing.assert_allclose(embed(other, images), expected, atol=1e-5)
    assert adapted.after == cosine_stats(expected) and adapted.before == cosine_stats(embed(student, images))


def test_include_bn1d_adapts_the_embedding_layer_too(student, noise_faces):
    images = lr_images(noise_faces, 24)
    plain, both = (adapt(student, images, include_bn1d=include) for include in (False, True))
    assert [layer.layer for layer in both.layers[:-1]] == [layer.layer for layer in plain.layers]
    assert both.layers[-1].layer == "features" and not torch.equal(
        both.state["features.running_mean"], student.features.running_mean
    )


def test_layer_shift_is_in_old_standard_deviations(student, noise_faces):
    """keep=1 changes nothing; keep=0 gives the statistics of the images."""
    images = lr_images(noise_faces, 24)
    unchanged = adapt(student, images, keep=1.0)
    assert all(layer.mean_step == 0 and layer.variance_factor == 1 for layer in unchanged.layers)
    first = adapt(student, images, keep=0.0, batch=24).layers[0]
    x = next(iter(network_inputs(images, 24)))[1]
    with torch.inference_mode():
        inputs = student.stages[0][0][0](x)
    norm = student.stages[0][0][1]
    mean, var = inputs.mean((0, 2, 3)), inputs.var((0, 2, 3), unbiased=False)
    step = ((mean - norm.running_mean) ** 2 / (norm.running_var + norm.eps)).mean().sqrt().item()
    assert first.layer == "stages.0.0.1" and first.mean_step == pytest.approx(step, rel=1e-3)
    assert first.variance_factor == pytest.approx(((var + norm.eps) / (norm.running_var + norm.eps)).median().item(), rel=1e-3)


def test_network_without_batchnorm_and_single_image_are_rejected(student, noise_faces):
    with pytest.raises(ValueError, match="no BatchNorm layer"):
        adapt(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 8)), lr_images(noise_faces, 4))
    with pytest.raises(ValueError, match="give two or more"):
        adapt(student, lr_images(noise_faces, 1))


def test_few_images_and_one_identity_give_a_warning(noise_faces):
    assert dataset_warnings(noise_faces(250), 0.1, 16) == []
    assert ["single images" in message for message in dataset_warnings(noise_faces(20), 0.1, 16)] == [True]
    assert ["one identity" in message for message in dataset_warnings(noise_faces(250), 0.8, 16)] == [True]


@pytest.mark.parametrize(("n_low", "expected"), [(0, False), (10, False), (100, True), (200, True), (245, False), (250, False)])
def test_mixed_hr_and_lr_images_give_a_warning(n_low, expected, noise_faces):
    """A group of less than a tenth of the images is ignored."""
    images = noise_faces(250)
    images[:n_low] = low_faces(images[:n_low], 16) if n_low else images[:0]
    messages = dataset_warnings(images, 0.1, 16)
    assert bool(messages) == expected and all("sharper than the rest" in message for message in messages)
    if expected:
        assert sharper_fraction(sharpness(images, 16)) == pytest.approx(1 - n_low / 250)


def test_equal_sharpness_is_one_group():
    assert sharper_fraction(np.ones(5)) is None and sharper_fraction(np.ones(1)) is None


def test_uniformly_spread_sharpness_is_one_group():
    assert sharper_fraction(np.exp(np.linspace(0, 3, 250))) is None


@pytest.fixture(scope="module")
def run_folder(tiny_run, tmp_path_factory):
    return train(from_flat(tiny_run | {"output": str(tmp_path_factory.mktemp("adapt") / "run"), "num_epoch": 1}))


@pytest.fixture(params=["folder", "bin", "rec"])
def camera(request, tiny_run, pairs_file, noise_faces, tmp_path) -> tuple[str, int]:
    """A user's images, and their number."""
    if request.param != "folder":
        return {"bin": (pairs_file, 80), "rec": (tiny_run["rec"], 48)}[request.param]
    folder = tmp_path / "camera" / "monday"
    folder.mkdir(parents=True)
    for number, image in enumerate(noise_faces(6)):
        (folder / f"{number}.jpg").write_bytes(encode_jpeg(image if number else image[:64, :64]))
    return str(tmp_path / "camera"), 6


def test_command_writes_a_run_that_evaluates_and_exports(run_folder, camera, pairs_file, noise_faces, tmp_path, capsys):
    source, count = camera
    out = tmp_path / "adapted"
    assert main(["adapt", str(run_folder), source, "--out", str(out), "--keep", "0.5"]) == 0
    text = capsys.readouterr().out
    assert f"of {count} images" in text and "stages.0.0.1" in text and f"only {count} images" in text
    entry = json.loads((out / "recipe.json").read_text())["adapted"]
    assert (entry["faces"], entry["keep"], entry["px"]) == (count, 0.5, None)
    images = lr_images(noise_faces, 4)
    assert not np.allclose(embed(load_model(out), images), embed(load_model(run_folder), images), atol=1e-4)
    assert main(["evaluate", str(out), "--pairs", pairs_file, "--px", "16"]) == 0
    of_the_test_images = f"WARNING {out} was adapted to the images of {pairs_file} itself" in capsys.readouterr().err
    assert of_the_test_images is (source == pairs_file)
    assert main(["export", str(out), "--out", str(tmp_path / "model"), "--count", "8"]) == 0
    assert f"adapted to {count} unlabelled " in (tmp_path / "model" / "MODEL_CARD.md").read_text()


def test_an_earlier_adaptation_is_not_forgotten(run_folder, pairs_file, tiny_run, tmp_path, capsys):
    """A run adapted to the test file and then to other images gave no warning, neither as a run nor exported."""
    first, second, exported = tmp_path / "first", tmp_path / "second", tmp_path / "model"
    assert main(["adapt", str(run_folder), pairs_file, "--out", str(first)]) == 0
    assert main(["adapt", str(first), tiny_run["rec"], "--out", str(second)]) == 0
    entry = json.loads((second / "recipe.json").read_text())["adapted"]
    assert entry["source_sha256"] is None and entry["earlier"] == [json.loads((first / "recipe.json").read_text())["adapted"]]
    assert main(["export", str(second), "--out", str(exported), "--count", "8"]) == 0
    for model in (second, exported):
        capsys.readouterr()
        assert main(["evaluate", str(model), "--pairs", pairs_file, "--px", "16"]) == 0
        assert "was adapted to the images of" in capsys.readouterr().err


def test_a_bad_file_and_crops_that_are_not_square_do_not_stop_the_command(run_folder, noise_faces, tmp_path, capsys):
    camera = tmp_path / "camera"
    (camera / "@eaDir").mkdir(parents=True)
    for number, image in enumerate(noise_faces(8)):
        (camera / f"{number}.jpg").write_bytes(encode_jpeg(image if number else image[:90, :70]))
    (camera / "@eaDir" / "1.jpg").write_bytes((camera / "1.jpg").read_bytes())
    (camera / "torn.jpg").write_bytes((camera / "1.jpg").read_bytes()[:300])
    (camera / "empty.png").touch()
    out = tmp_path / "adapted"
    assert main(["adapt", str(run_folder), str(camera), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "WARNING 1 of 8 images are not square and were stretched (0.jpg): `aird align` crops photos as" in text
    assert text.splitlines()[-1] == (
        "camera: 8 images taken; left out: hidden or system folders with images: 1 (@eaDir); "
        "unreadable images: 2 (empty.png, torn.jpg)"
    )
    entry = json.loads((out / "recipe.json").read_text())["adapted"]
    assert entry["faces"] == 8 and entry["left_out"]["unreadable images"] == ["empty.png", "torn.jpg"]


def test_a_bad_image_of_a_bin_and_of_a_rec_is_left_out_by_its_name(noise_faces, tmp_path):
    good = [encode_jpeg(image) for image in noise_faces(3)]
    write_pairs(tmp_path / "pairs.bin", [*good, b"torn"], [True, False])
    write_face_records(tmp_path, [(0, good[0]), (0, b"torn"), (1, good[1])])
    for name, expected in (("pairs.bin", "pair 1, image 1"), ("train.rec", f"{tmp_path}/train.rec record 2")):
        found = read_faces(str(tmp_path / name))
        assert found.accounting.left_out == {"unreadable images": [expected]} and not found.stretched
        assert len(found.images_NHWC) == found.accounting.taken


def test_px_downsamples_the_images_first(run_folder, tiny_run, tmp_path):
    for name, more in (("unchanged", []), ("downsampled", ["--px", "8"])):
        assert main(["adapt", str(run_folder), tiny_run["rec"], "--out", str(tmp_path / name), *more]) == 0
    one, other = (weights(tmp_path / name) for name in ("unchanged", "downsampled"))
    assert not torch.equal(one["stages.0.0.1.running_var"], other["stages.0.0.1.running_var"])


def test_invalid_arguments_give_a_one_line_error(run_folder, tiny_run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    file = tmp_path / "model.onnx"
    file.write_bytes(b"")
    for model, images, out, message in [
        (file, tiny_run["rec"], "new", "An .onnx file has no BatchNorm layers"),
        (run_folder, tiny_run["rec"], "full", "already exists"),
        (run_folder, tmp_path / "empty", "new", "holds 0 "),
        (run_folder, tmp_path / "nowhere", "new", "nowhere; "),
    ]:
        assert main(["adapt", str(model), str(images), "--out", str(tmp_path / out)]) == 1
        text = capsys.readouterr().err
        assert text.startswith("error: ") and message in text and text.count("\n") == 1
    assert main(["adapt", str(run_folder), tiny_run["rec"], "--out", str(tmp_path / "new"), "--px", "3"]) == 1
    assert "whole number from 4 to 112" in capsys.readouterr().err and not (tmp_path / "new").exists()
