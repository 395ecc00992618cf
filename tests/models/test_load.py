"""Loading models from every kind of path; the network name of a run folder takes precedence over its keys."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.evaluation.embed import embed
from aird_plugin.models import build, registry
from aird_plugin.models.find import run_folder
from aird_plugin.models.from_weights import embedding_width
from aird_plugin.models.load import load_initial_weights, load_model, load_teacher
from tests.runs import write_recipe
from tests.skips import needs


class Plain(nn.Module):
    """A minimal user network: no BatchNorm, no attribute of this package."""

    def __init__(self, embedding_size: int):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.out = nn.Linear(16, embedding_size)

    def forward(self, x_B3HW):
        return self.out(self.trunk(x_B3HW))


@pytest.fixture
def user_network(monkeypatch):
    """A network registered with one entry."""
    monkeypatch.setitem(registry.NETWORKS, "plain", registry.Architecture(Plain, "a test network"))
    return "plain"


def write_run(folder, network: str, width: int = 8) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(build(network, width).state_dict(), folder / "model.pt")
    (folder / "recipe.json").write_text(json.dumps({"network": network}))


@pytest.mark.parametrize("given", ["", "model.pt"])
def test_run_folder_and_its_weight_file_load_the_same_model(tmp_path, given):
    write_run(tmp_path / "run", "native112_0.05m")
    path = tmp_path / "run" / given
    images_NHWC = np.full((2, 112, 112, 3), 90, np.uint8)
    teacher, model = load_teacher(path), load_model(path)
    assert teacher.network == "native112_0.05m" and model.input_size == 112 and teacher.path == tmp_path / "run" / "model.pt"
    assert load_initial_weights(path, "native112_0.05m").keys() == model.state_dict().keys()
    assert run_folder(path) == tmp_path / "run"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(teacher)).embed(images_NHWC), teacher.embed(images_NHWC))


def test_weight_file_without_recipe_json_is_a_bare_file(tmp_path):
    write_run(tmp_path / "run", "native16_0.05m")
    (tmp_path / "run" / "recipe.json").unlink()
    assert run_folder(tmp_path / "run" / "model.pt") == tmp_path / "run" / "model.pt"
    with pytest.raises(ValueError, match="native student: set network=.*or give its run folder"):
        load_model(tmp_path / "run" / "model.pt")
    with pytest.raises(FileNotFoundError, match=r"no recipe.json; give .*model.pt and its network"):
        load_model(tmp_path / "run")


def test_teacher_network_must_match_its_run(tmp_path):
    write_run(tmp_path / "run", "native112_0.05m")
    with pytest.raises(ValueError, match=r"is a run of network=native112_0.05m, but network=r50 is requested"):
        load_teacher(tmp_path / "run", "r50")


def test_student_init_must_be_the_same_network(tmp_path):
    write_run(tmp_path / "run", "native112_0.05m")
    with pytest.raises(ValueError, match=r"is a run of network=native112_0.05m, but this recipe has network=r18"):
        load_initial_weights(tmp_path / "run", "r18")
    (tmp_path / "t.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match="only network=.onnx. starts from"):
        load_initial_weights(tmp_path / "t.onnx", "r18")


def test_recipe_json_without_network_is_rejected(tmp_path):
    write_run(tmp_path / "run", "native16_0.05m")
    (tmp_path / "run" / "recipe.json").write_text("{}")
    with pytest.raises(ValueError, match="has no key network"):
        load_model(tmp_path / "run")


def test_keys_are_used_only_without_a_network_name(tmp_path, monkeypatch):
    """A user network with the keys of an iresnet is not detected as iresnet."""
    monkeypatch.setitem(registry.NETWORKS, "mine", registry.Architecture(registry.NETWORKS["r18"].build, "a copy of r18"))
    write_run(tmp_path / "run", "mine", 4)
    assert sum(p.numel() for p in load_model(tmp_path / "run").parameters()) > 1e7


def test_registered_network_loads_from_its_run_folder(user_network, tmp_path):
    write_run(tmp_path / "run", user_network, 5)
    network = load_model(tmp_path / "run")
    assert network(torch.zeros(2, 3, 112, 112)).shape == (2, 5)
    with pytest.raises(ValueError, match="no registered network has keys like trunk"):
        load_model((tmp_path / "run" / "model.pt").rename(tmp_path / "bare.pt"))
    assert load_model(tmp_path / "bare.pt", user_network).input_size == 112


def test_registered_network_trains_evaluates_and_exports(user_network, tiny_run, pairs_file, tmp_path, capsys):
    """One class and one registry entry are enough, from a recipe to the ONNX file for InsightFace."""
    needs("onnxruntime")
    from aird_plugin.__main__ import main

    keys = tiny_run | {"network": user_network, "output": str(tmp_path / "run"), "num_epoch": 1, "bank": str(tmp_path / "bank")}
    write_recipe(tmp_path / "recipe.py", keys)
    assert main(["train", str(tmp_path / "recipe.py")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--pairs", pairs_file, "--px", "16"]) == 0
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "tiny"), "--faces", tiny_run["rec"]]) == 0
    assert main(["evaluate", str(tmp_path / "tiny"), "--pairs", pairs_file, "--px", "16"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("pairs.bin")]
    assert len(rows) == 2 and rows[0] == rows[1]


@pytest.mark.parametrize("name", ["r18", "mbf", "mfn", "native16_0.05m"])
@pytest.mark.parametrize("width", [7, 32])
def test_embedding_width_is_read_from_the_weights(name, width):
    assert embedding_width(build(name, width).state_dict()) == width


def test_every_registry_entry_matches_its_network():
    for name, entry in registry.NETWORKS.items():
        with torch.device("meta"):
            network = build(name, 16)
        assert network.input_size == entry.input_size and entry.about
        assert registry.detect(network.state_dict()) == name
        assert [network.get_submodule(stage) for stage in entry.stages]


def test_a_bare_file_is_fed_as_stated(tmp_path, noise_faces, capsys):
    """AdaFace's networks take BGR. No file shows it, so that one whose channel order is not stated is noted."""
    torch.manual_seed(0)
    torch.save(build("adaface_ir18", 8).state_dict(), tmp_path / "adaface.pt")
    images_NHWC = noise_faces(1)
    swapped = np.ascontiguousarray(images_NHWC[..., ::-1])
    plain = load_model(tmp_path / "adaface.pt")
    assert "adaface.pt is fed RGB" in capsys.readouterr().err
    bgr = load_model(tmp_path / "adaface.pt", model_input={"color": "bgr"})
    teacher = load_teacher(tmp_path / "adaface.pt", teacher_input={"color": "bgr"})
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(embed(bgr, images_NHWC, flip=False, label=""), embed(plain, swapped, flip=False, label=""))
    np.testing.assert_allclose(
        embed(bgr, images_NHWC, flip=False, label=""), embed(teacher, images_NHWC, flip=False, label=""), atol=1e-5
    )
    load_teacher(tmp_path / "adaface.pt")
    assert "adaface.pt is fed RGB" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"is a .pt, of which only color, mean and std can be stated; leave out output"):
        load_model(tmp_path / "adaface.pt", model_input={"output": 0})


def test_a_run_is_fed_as_it_was_trained(tmp_path):
    write_run(tmp_path / "run", "native112_0.05m")
    with pytest.raises(ValueError, match="is a run, which is fed as it was trained"):
        load_model(tmp_path / "run", model_input={"color": "bgr"})
