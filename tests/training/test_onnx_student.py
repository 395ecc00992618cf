"""network="onnx": a recogniser's file is the student of itself, through training, resuming, evaluation, adaptation and export."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from aird_plugin.__main__ import main
from aird_plugin.adaptation import adapted_run
from aird_plugin.config.recipe import from_flat
from aird_plugin.losses.cosine import cosine_regression_loss
from aird_plugin.models.load import load_model
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.training.loop import train
from aird_plugin.utils import distributed
from aird_plugin.utils.errors import Interrupted
from tests.exact import assert_equal_up_to_order, float64
from tests.models.onnx_files import network, write_network
from tests.ranks import on_ranks
from tests.skips import needs

onnx = needs("onnx")
needs("onnxruntime")
from tests.models.onnx_variants import write_variant  # noqa: E402
from tests.runs import assert_same_to_the_bit, metrics, weights, write_recipe  # noqa: E402


@pytest.fixture(scope="module")
def keys(tiny_run, tmp_path_factory):
    """The tiny run with an .onnx teacher that has BatchNorm layers, as the student of itself."""
    folder = tmp_path_factory.mktemp("own")
    file = write_network(folder / "teacher.onnx", network("native112_0.05m"), fold=False)
    own = {"teacher": str(file), "teacher_network": None, "network": "onnx", "bank": str(folder / "bank"), "num_epoch": 1}
    return tiny_run | own | {"optimizer": "adamw", "lr": 1e-3, "centers": "frozen", "identity_weight": 0.0, "frequent": 1}


@pytest.fixture(scope="module")
def run(keys, tmp_path_factory):
    return train(from_flat(keys | {"output": str(tmp_path_factory.mktemp("run") / "own")}))


def test_the_teachers_file_is_the_default_start(run, keys):
    metadata = json.loads((run / "recipe.json").read_text())
    assert metadata["network"] == "onnx" and metadata["embedding_size"] == 16
    assert metadata["recipe"]["student_init"] == keys["teacher"]
    assert (run / "graph.onnx").read_bytes() == Path(keys["teacher"]).read_bytes()
    student, file = load_model(run), OnnxNetwork(keys["teacher"])
    assert isinstance(student, OnnxNetwork)
    assert any(not torch.equal(a, b) for a, b in zip(student.parameters(), file.parameters(), strict=True))


def test_the_loss_falls(keys, tmp_path):
    done = train(from_flat(keys | {"num_epoch": 6, "output": str(tmp_path / "run")}))
    align = [line["align"] for line in metrics(done)]
    assert np.mean(align[-6:]) < 0.8 * np.mean(align[:6])


@pytest.mark.parametrize("batchnorm, moves", [("auto", False), ("frozen", False), ("train", True)])
def test_batch_norm_statistics_are_frozen_unless_asked(keys, tmp_path, batchnorm, moves):
    done = train(from_flat(keys | {"batchnorm": batchnorm, "output": str(tmp_path / "run")}))
    before, after = OnnxNetwork(keys["teacher"]).state_dict(), load_model(done).state_dict()
    statistics = [name for name in before if name.endswith(("running_mean", "running_var"))]
    weights = [name for name in before if name.endswith(".weight")]
    assert statistics and all(torch.equal(before[name], after[name]) is not moves for name in statistics)
    assert not any(torch.equal(before[name], after[name]) for name in weights)


def test_its_maps_are_regressed_from_the_files(keys, tmp_path):
    """The untouched file runs as a module in every step."""
    own = {key: value for key, value in keys.items() if key != "rid_negatives"} | {"online": True, "lr": 3e-3, "num_epoch": 6}
    own["terms"] = {"maps": "aird_plugin.losses.map_regression:MapRegression"}
    done = train(from_flat(own | {"output": str(tmp_path / "run")}))
    maps = [line["maps"] for line in metrics(done)]
    assert np.mean(maps[-6:]) < 0.9 * np.mean(maps[:6])


def test_a_stopped_run_resumes_to_the_same_bits(run, keys, tmp_path, monkeypatch):
    from aird_plugin.training import loop

    step, output = loop.take_step, {"output": str(tmp_path / "run"), "save_steps": 2}

    def stop_at_four(state, batches, number):
        if number == 4:
            raise Interrupted("stopped")
        return step(state, batches, number)

    monkeypatch.setattr(loop, "take_step", stop_at_four)
    with pytest.raises(Interrupted):
        train(from_flat(keys | output))
    monkeypatch.undo()
    assert_same_to_the_bit(weights(train(from_flat(keys | output))), weights(run))


def test_a_run_does_not_resume_from_another_file(keys, tmp_path):
    file = tmp_path / "start.onnx"
    shutil.copy(keys["teacher"], file)
    output = {"student_init": str(file), "output": str(tmp_path / "run")}
    train(from_flat(keys | output))
    write_network(file, network("native112_0.05m", seed=1), fold=False)
    with pytest.raises(ValueError, match="began from another start.onnx"):
        train(from_flat(keys | output))


def test_a_run_starts_from_a_run(run, keys, tmp_path):
    again = train(from_flat(keys | {"student_init": str(run), "lr": 1e-12, "output": str(tmp_path / "run")}))
    assert (again / "graph.onnx").read_bytes() == (run / "graph.onnx").read_bytes()
    for one, other in zip(load_model(again).parameters(), load_model(run).parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_export_gives_the_same_file_with_other_weights(run, keys, tmp_path, noise_faces):
    assert main(["export", str(run), "--out", str(tmp_path / "better"), "--count", "8"]) == 0
    before, after = onnx.load(keys["teacher"]), onnx.load(tmp_path / "better" / "better.onnx")
    names = [[(node.name, node.op_type, *node.input, *node.output) for node in model.graph.node] for model in (before, after)]
    assert names[0] == names[1]
    assert [value.name for value in after.graph.input] == ["input.1"] and after.graph.output[0].name == "features"
    assert json.loads(after.metadata_props[-1].value)["network"] == "onnx"
    exported, student = load_model(tmp_path / "better"), load_model(run)
    images = noise_faces(3)
    with torch.no_grad():
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)
        expected = torch.nn.functional.normalize(student(inputs))
    found = torch.nn.functional.normalize(torch.from_numpy(exported.embed(images)))
    assert (found * expected).sum(1).min() > 0.999999


def test_adapting_keeps_the_graph(run, keys, tmp_path, pairs_file):
    assert main(["adapt", str(run), pairs_file, "--out", str(tmp_path / "adapted")]) == 0
    before, after = load_model(run).state_dict(), load_model(tmp_path / "adapted").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("running" in name for name in changed)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"teacher": None}, "set student_init=FILE.onnx or teacher; got None"),
        ({"embedding_size": 8}, "embedding_size=8, but .*teacher.onnx has 16"),
        ({"network": "r18", "student_init": "teacher"}, "only network='onnx' starts from"),
        ({"freeze": "trunk"}, "one module, trunk and embedding layers together; set freeze=None"),
        ({"batchnorm": "off"}, "batchnorm is one of auto, train, frozen"),
    ],
)
def test_invalid_recipes_are_rejected(keys, tmp_path, change, words):
    if change.get("student_init"):
        change = change | {"student_init": keys["teacher"]}
    with pytest.raises(ValueError, match=words):
        train(from_flat(keys | {"output": str(tmp_path / "run")} | change))


def one_step(file: str) -> dict[str, torch.Tensor]:
    """Loss and gradients of this rank's share of six images."""
    student = OnnxNetwork(file).double()
    ranks, rank = distributed.world_size(), distributed.rank()
    called = DistributedDataParallel(student) if ranks > 1 else student
    images = torch.rand(6, 3, 112, 112, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    teacher_BD = torch.randn(6, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = slice(rank * 6 // ranks, (rank + 1) * 6 // ranks)
    loss = cosine_regression_loss(called(images[own]), teacher_BD[own])
    loss.backward()
    return {"loss": distributed.mean_over_ranks(loss.detach())} | {key: p.grad for key, p in student.named_parameters()}


def test_two_ranks_equal_one(keys, tmp_path):
    with float64():
        whole = one_step(keys["teacher"])
    for part in on_ranks(one_step, tmp_path, keys["teacher"]):
        assert_equal_up_to_order(part, whole)


def test_doctor_opens_the_file_as_a_student(keys, tmp_path, capsys):
    recipe = write_recipe(tmp_path / "own.py", keys)
    main(["doctor", str(recipe)])
    assert "teacher.onnx: trainable, " in capsys.readouterr().out


def test_doctor_feeds_the_student_as_the_recipe_states(keys, tmp_path, capsys):
    file = tmp_path / "two.onnx"
    write_variant(keys["teacher"], file, "two embeddings")
    recipe = tmp_path / "own.py"
    own = keys | {"student_init": str(file), "student_input": {"output": "features"}}
    write_recipe(recipe, own)
    main(["doctor", str(recipe)])
    out = capsys.readouterr().out
    assert "two.onnx: trainable, " in out and "outputs that can be the embedding" not in out


def test_a_run_from_a_file_with_external_weights(keys, tmp_path):
    """Its graph.onnx named weights that were not in the run folder; others under the same graph passed for the same start."""
    start = tmp_path / "start"
    start.mkdir()
    onnx.save(onnx.load(keys["teacher"]), start / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    changed = keys | {"student_init": str(start / "m.onnx"), "output": str(tmp_path / "run"), "lr": 1e-12}
    run = train(from_flat(changed))
    numbers = np.frombuffer((start / "m.bin").read_bytes(), np.float32)
    (start / "m.bin").write_bytes((numbers * np.float32(1.01)).tobytes())
    with pytest.raises(ValueError, match="began from another m.onnx"):
        train(from_flat(changed))
    (start / "m.bin").unlink()
    for one, other in zip(load_model(run).parameters(), OnnxNetwork(keys["teacher"]).parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_failed_adaptation_leaves_nothing(run, pairs_file, tmp_path, monkeypatch, capsys):
    """It left graph.onnx alone, which is a model of its own: the file before training and adaptation."""

    def full(*args):
        raise OSError(28, "No space left on device", "model.pt")

    monkeypatch.setattr(adapted_run, "write_run", full)
    assert main(["adapt", str(run), pairs_file, "--out", str(tmp_path / "adapted")]) == 1
    assert "No space left on device" in capsys.readouterr().err and not list(tmp_path.iterdir())
