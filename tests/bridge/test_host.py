import hashlib
import json
import logging
import re
import sys
from pathlib import Path

import pytest
import torch

from aird_plugin import distributed
from aird_plugin.bridge.host import train
from aird_plugin.models import build
from aird_plugin.recipe import from_flat


def weights(folder) -> dict[str, torch.Tensor]:
    return torch.load(Path(folder) / "model.pt", weights_only=True)


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def digest(folder) -> str:
    files = sorted(path for path in Path(folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@pytest.fixture(scope="module")
def hosted_run(bridge_run, checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosted") / "run"
    before = digest(checkout)
    done = train(from_flat(bridge_run | {"output": str(folder)}), checkout)
    assert digest(checkout) == before
    return done


def test_a_run_leaves_what_the_embedded_host_leaves(hosted_run, bridge_run):
    files = {path.name for path in hosted_run.iterdir()}
    assert files == {"recipe.json", "model.pt", "checkpoints", "metrics.jsonl", "tensorboard", "training.log"}
    told = lines(hosted_run)
    assert [line["step"] for line in told] == list(range(1, 19))
    assert set(told[0]) == {"step", "epoch", "lr", "loss", "identity", "iid", "rid", "align", "samples_per_s"}
    for line in told:
        total = line["identity"] + line["iid"] + 2 * line["rid"] + 8 * line["align"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
    assert "host" in json.loads((hosted_run / "recipe.json").read_text())
    build(bridge_run["network"], 8).load_state_dict(weights(hosted_run))


def test_upstreams_log_keeps_its_form_and_tells_every_term(hosted_run):
    log = (hosted_run / "training.log").read_text()
    assert re.search(r"^Training: [-\d :,]+-: batch_size +8$", log, re.M)
    assert re.search(r"Speed [\d.]+ samples/sec   Loss [\d.]+   LearningRate [\d.]+   Epoch: 2   Global Step: 18 ", log)
    assert re.search(r"-Terms  loss [\d.]+   identity [\d.]+   iid [\d.]+   rid [\d.]+   align [\d.]+$", log, re.M)


def test_it_learns(hosted_run):
    told = lines(hosted_run)
    assert told[-1]["align"] < 0.95 * told[0]["align"]


def test_nothing_stays_bound_after_a_run(hosted_run):
    assert distributed.world_size() == 1 and not torch.distributed.is_initialized()
    for name in ("mxnet", "train_v2", "losses", "dataset", "utils", "eval", "configs.base", "partial_fc_v2"):
        assert name not in sys.modules, name
    assert "cuda" not in vars(torch.Tensor) and torch.save.__module__ == "torch.serialization"
    assert not [handler for handler in logging.getLogger().handlers if "training.log" in str(handler)]


def test_the_class_centres_and_the_students_file_hold_nothing_of_ours(hosted_run):
    """The teacher and the relation networks are saved by us, and stand in neither of upstream's files or trees."""
    newest = max((hosted_run / "checkpoints").iterdir())
    shared = torch.load(newest / "shared.pt", weights_only=True)
    assert any(name.startswith("terms.rid.") for name in shared["objective"])
    assert set(torch.load(newest / "head_0.pt", weights_only=True)) == {"weight", "optimizer"}
    assert not [name for name in weights(hosted_run) if "terms" in name or "teacher" in name]


def test_the_same_seed_gives_the_same_weights(hosted_run, bridge_run, checkout, tmp_path):
    again = train(from_flat(bridge_run | {"output": str(tmp_path / "run")}), checkout)
    for name, value in weights(hosted_run).items():
        assert torch.equal(weights(again)[name], value), name


@pytest.mark.parametrize("change", [
    {"sample_rate": 0.5},
    {"margin_gradient": "exact", "margin_list": (1.1, 0.3, 0.1), "margin_scale": 32.0},
    {"margin_list": (1.0, 0.0, 0.4), "optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.1},
    {"bf16": True, "gradient_compression": True},
    {"num_workers": 2, "online": True},
    {"head_init": "random", "identity_weight": 0.5, "warmup_epoch": 1, "schedule": "poly"},
])  # fmt: skip
def test_what_recipes_turn_holds_inside_too(change, bridge_run, checkout, tmp_path):
    folder = train(from_flat(bridge_run | {"output": str(tmp_path), "num_epoch": 1} | change), checkout)
    told = lines(folder)
    assert len(told) == 6 and all(torch.isfinite(torch.tensor(list(line.values()))).all() for line in told)
    said = "IID compares student and teacher over the sampled classes alone" in (folder / "training.log").read_text()
    assert said == (change.get("sample_rate", 1) < 1)


def test_a_run_without_a_teacher(bridge_run, checkout, tmp_path):
    dropped = ("terms", "rid_negatives", "teacher", "teacher_network")
    keys = {key: value for key, value in bridge_run.items() if key not in dropped}
    folder = train(from_flat(keys | {"head_init": "random", "embedding_size": 8, "output": str(tmp_path)}), checkout)
    assert set(lines(folder)[0]) == {"step", "epoch", "lr", "loss", "identity", "samples_per_s"}


@pytest.mark.parametrize(("change", "error", "words"), [
    ({"margin_list": (1.1, 0.5, 0.0)}, ValueError, "wants m1 = 1"),
    ({"margin_gradient": "exact", "upstream": {"interclass_filtering_threshold": 0.4}}, ValueError, "margin_gradient='upstream'"),
    ({"upstream": {"lr": 1.0, "using_wandb": False}}, ValueError, "upstream states lr: set such keys in the recipe itself"),
    ({"num_classes": 7}, ValueError, "labels in .* run from 0 to 7"),
    ({"lr": 1e30}, FloatingPointError, "step 1: the loss is not finite: loss=nan"),
])  # fmt: skip
def test_what_does_not_fit_is_told(change, error, words, bridge_run, checkout, tmp_path):
    with pytest.raises(error, match=words):
        train(from_flat(bridge_run | {"output": str(tmp_path)} | change), checkout)
    assert not torch.distributed.is_initialized() and "train_v2" not in sys.modules


def test_a_key_that_upstream_would_print_is_refused(bridge_run):
    with pytest.raises(ValueError, match=r"upstream\['wandb_key'\] would be printed"):
        from_flat(bridge_run | {"upstream": {"wandb_key": "secret"}})
