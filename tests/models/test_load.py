"""Whatever a user calls a model is found, and the run folder's word is believed before the keys'."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from aird_plugin.models import build, registry
from aird_plugin.models.load import find_model, load_initial_weights, load_model, load_teacher, run_folder
from aird_plugin.models.weights import embedding_width
from tests.skips import needs


class Plain(nn.Module):
    """What a newcomer writes first: no BatchNorm, no attribute of ours."""

    def __init__(self, embedding_size: int):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.out = nn.Linear(16, embedding_size)

    def forward(self, x_B3HW):
        return self.out(self.trunk(x_B3HW))


@pytest.fixture
def newcomer(monkeypatch):
    """A network registered in one line."""
    monkeypatch.setitem(registry.NETWORKS, "plain", registry.Architecture(Plain, "a test's own"))
    return "plain"


def write_run(folder, network: str, width: int = 8) -> None:
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(build(network, width).state_dict(), folder / "model.pt")
    (folder / "recipe.json").write_text(json.dumps({"network": network}))


@pytest.mark.parametrize("given", ["", "model.pt"])
def test_a_run_folder_and_its_weights_are_one_model(tmp_path, given):
    write_run(tmp_path / "run", "native112_0.05m")
    path = tmp_path / "run" / given
    faces = np.full((2, 112, 112, 3), 90, np.uint8)
    teacher, model = load_teacher(path), load_model(path)
    assert teacher.network == "native112_0.05m" and model.input_size == 112 and teacher.path == tmp_path / "run" / "model.pt"
    assert load_initial_weights(path, "native112_0.05m").keys() == model.state_dict().keys()
    assert run_folder(path) == tmp_path / "run"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(teacher)).embed(faces), teacher.embed(faces))


def test_a_bare_file_beside_no_recipe_is_itself(tmp_path):
    write_run(tmp_path / "run", "native16_0.05m")
    (tmp_path / "run" / "recipe.json").unlink()
    assert run_folder(tmp_path / "run" / "model.pt") == tmp_path / "run" / "model.pt"
    with pytest.raises(ValueError, match="native student: say which.*or give the run folder"):
        load_model(tmp_path / "run" / "model.pt")
    with pytest.raises(FileNotFoundError, match=r"no recipe.json; give .*model.pt and its network"):
        load_model(tmp_path / "run")


def test_an_exported_folder_is_its_onnx_file(tmp_path):
    (tmp_path / "tiny.onnx").write_bytes(b"x")
    assert find_model(tmp_path) == (tmp_path / "tiny.onnx", None)


def test_a_teachers_stated_network_is_held_against_its_run(tmp_path):
    write_run(tmp_path / "run", "native112_0.05m")
    with pytest.raises(ValueError, match=r"is a run of network=native112_0.05m; you asked for r50"):
        load_teacher(tmp_path / "run", "r50")


def test_a_student_starts_from_its_own_network_alone(tmp_path):
    write_run(tmp_path / "run", "native112_0.05m")
    with pytest.raises(ValueError, match=r"is a run of network=native112_0.05m, this recipe's is r18"):
        load_initial_weights(tmp_path / "run", "r18")
    (tmp_path / "t.onnx").write_bytes(b"x")
    with pytest.raises(ValueError, match="holds no state dict"):
        load_initial_weights(tmp_path / "t.onnx", "r18")


def test_a_recipe_json_without_a_network_is_named(tmp_path):
    write_run(tmp_path / "run", "native16_0.05m")
    (tmp_path / "run" / "recipe.json").write_text("{}")
    with pytest.raises(ValueError, match="names no network"):
        load_model(tmp_path / "run")


def test_the_keys_are_asked_only_where_no_name_is_given(tmp_path, monkeypatch):
    """A network of its own with an iresnet's keys is not taken for one."""
    monkeypatch.setitem(registry.NETWORKS, "mine", registry.Architecture(registry.NETWORKS["r18"].build, "an r18 of mine"))
    write_run(tmp_path / "run", "mine", 4)
    assert sum(p.numel() for p in load_model(tmp_path / "run").parameters()) > 1e7


def test_a_registered_network_is_loaded_by_its_run(newcomer, tmp_path):
    write_run(tmp_path / "run", newcomer, 5)
    network = load_model(tmp_path / "run")
    assert network(torch.zeros(2, 3, 112, 112)).shape == (2, 5)
    with pytest.raises(ValueError, match="no network we know has keys like trunk"):
        load_model((tmp_path / "run" / "model.pt").rename(tmp_path / "bare.pt"))
    assert load_model(tmp_path / "bare.pt", newcomer).input_size == 112


def test_a_registered_network_trains_evaluates_and_exports(newcomer, tiny_run, pairs_file, tmp_path, capsys):
    """One class and one line of the registry are all it takes, from a recipe to InsightFace's file."""
    needs("onnxruntime")
    from aird_plugin.__main__ import main

    keys = tiny_run | {"network": newcomer, "output": str(tmp_path / "run"), "num_epoch": 1, "bank": str(tmp_path / "bank")}
    (tmp_path / "recipe.py").write_text(f"from easydict import EasyDict\nconfig = EasyDict({keys!r})\n")
    assert main(["train", str(tmp_path / "recipe.py")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), "--pairs", pairs_file, "--px", "16"]) == 0
    assert main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "tiny"), "--faces", tiny_run["rec"]]) == 0
    assert main(["evaluate", str(tmp_path / "tiny"), "--pairs", pairs_file, "--px", "16"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("pairs.bin")]
    assert len(rows) == 2 and rows[0] == rows[1]


@pytest.mark.parametrize("name", ["r18", "mbf", "mfn", "native16_0.05m"])
@pytest.mark.parametrize("width", [7, 32])
def test_the_width_is_read_from_the_weights(name, width):
    assert embedding_width(build(name, width).state_dict()) == width


def test_every_entry_builds_what_it_says():
    for name, entry in registry.NETWORKS.items():
        with torch.device("meta"):
            network = build(name, 16)
        assert network.input_size == entry.input_size and entry.about
        assert registry.detect(network.state_dict()) == name
        assert [network.get_submodule(stage) for stage in entry.stages]
