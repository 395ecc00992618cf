import hashlib
import json
import logging
import re
import sys
from pathlib import Path

import pytest
import torch

from aird_plugin.bridge import host
from aird_plugin.bridge.host import train
from aird_plugin.config.recipe import from_flat
from aird_plugin.models import build
from aird_plugin.utils import distributed
from aird_plugin.utils.errors import Interrupted
from tests.runs import metrics, weights


def digest(folder) -> str:
    files = sorted(path for path in Path(folder).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


@pytest.fixture(scope="module")
def upstream_run(bridge_run, checkout, tmp_path_factory):
    folder = tmp_path_factory.mktemp("upstream") / "run"
    before = digest(checkout)
    done = train(from_flat(bridge_run | {"output": str(folder)}), checkout)
    assert digest(checkout) == before
    return done


def test_run_folder_matches_the_embedded_loop(upstream_run, bridge_run):
    files = {path.name for path in upstream_run.iterdir()}
    assert files == {"recipe.json", "model.pt", "means.json", "checkpoints", "metrics.jsonl", "tensorboard", "training.log"}
    rows = metrics(upstream_run)
    assert [row["step"] for row in rows] == list(range(1, 19))
    assert set(rows[0]) == {"step", "epoch", "lr", "loss", "identity", "iid", "rid", "align", "samples_per_s"}
    for row in rows:
        total = row["identity"] + row["iid"] + 2 * row["rid"] + 8 * row["align"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    assert "host" in json.loads((upstream_run / "recipe.json").read_text())
    build(bridge_run["network"], 8).load_state_dict(weights(upstream_run))


def test_gradient_diagnostics_are_refused(bridge_run, checkout, tmp_path):
    with pytest.raises(ValueError, match="gradient_diagnostics=1 does not run inside arcface_torch"):
        train(from_flat(bridge_run | {"output": str(tmp_path), "gradient_diagnostics": 1}), checkout)


def test_log_keeps_upstreams_format_and_lists_every_term(upstream_run):
    log = (upstream_run / "training.log").read_text()
    assert re.search(r"^Training: [-\d :,]+-: batch_size +8$", log, re.M)
    assert re.search(r"Speed [\d.]+ samples/sec   Loss [\d.]+   LearningRate [\d.]+   Epoch: 2   Global Step: 18 ", log)
    assert re.search(r"-Terms  loss [\d.]+   identity [\d.]+   iid [\d.]+   rid [\d.]+   align [\d.]+$", log, re.M)


def test_loss_decreases(upstream_run):
    rows = metrics(upstream_run)
    assert rows[-1]["align"] < 0.95 * rows[0]["align"]


def test_patches_are_removed_after_a_run(upstream_run):
    assert distributed.world_size() == 1 and not torch.distributed.is_initialized()
    for name in ("mxnet", "train_v2", "losses", "dataset", "utils", "eval", "configs.base", "partial_fc_v2"):
        assert name not in sys.modules, name
    assert "cuda" not in vars(torch.Tensor) and torch.save.__module__ == "torch.serialization"
    assert not [handler for handler in logging.getLogger().handlers if "training.log" in str(handler)]


def test_head_and_model_files_contain_no_other_networks(upstream_run):
    """The relation networks are saved in shared.pt; the teacher and they appear in neither head nor model file."""
    newest = max((upstream_run / "checkpoints").iterdir())
    shared = torch.load(newest / "shared.pt", weights_only=True)
    assert any(name.startswith("terms.rid.") for name in shared["objective"])
    assert set(torch.load(newest / "head_0.pt", weights_only=True)) == {"weight", "optimizer"}
    assert not [name for name in weights(upstream_run) if "terms" in name or "teacher" in name]


def test_same_seed_gives_the_same_weights(upstream_run, bridge_run, checkout, tmp_path):
    again = train(from_flat(bridge_run | {"output": str(tmp_path / "run")}), checkout)
    for name, value in weights(upstream_run).items():
        assert torch.equal(weights(again)[name], value), name


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 0.5},
        {"margin_gradient": "exact", "margin_list": (1.1, 0.3, 0.1), "margin_scale": 32.0},
        {"margin_list": (1.0, 0.0, 0.4), "optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.1},
        {"bf16": True, "gradient_compression": True},
        {"num_workers": 2, "online": True},
        {"head_init": "random", "identity_weight": 0.5, "warmup_epoch": 1, "schedule": "poly"},
    ],
)
def test_recipe_variants_train(change, bridge_run, checkout, tmp_path):
    folder = train(from_flat(bridge_run | {"output": str(tmp_path), "num_epoch": 1} | change), checkout)
    rows = metrics(folder)
    assert len(rows) == 6 and all(torch.isfinite(torch.tensor(list(row.values()))).all() for row in rows)
    logged = "IID compares student and teacher over the sampled classes alone" in (folder / "training.log").read_text()
    assert logged == (change.get("sample_rate", 1) < 1)


def test_run_without_a_teacher(bridge_run, checkout, tmp_path):
    dropped = ("terms", "rid_negatives", "teacher", "teacher_network")
    keys = {key: value for key, value in bridge_run.items() if key not in dropped}
    folder = train(from_flat(keys | {"head_init": "random", "embedding_size": 8, "output": str(tmp_path)}), checkout)
    assert set(metrics(folder)[0]) == {"step", "epoch", "lr", "loss", "identity", "samples_per_s"}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"margin_list": (1.1, 0.5, 0.0)}, ValueError, "needs m1 = 1"),
        (
            {"margin_gradient": "exact", "upstream": {"interclass_filtering_threshold": 0.4}},
            ValueError,
            "margin_gradient='upstream'",
        ),
        ({"upstream": {"lr": 1.0, "using_wandb": False}}, ValueError, "upstream sets lr: set such keys in the recipe itself"),
        ({"num_classes": 7}, ValueError, "labels in .* run from 0 to 7"),
        ({"lr": 1e30}, FloatingPointError, "step 1: the loss is not finite: loss=nan"),
    ],
)
def test_invalid_recipes_are_rejected(change, error, words, bridge_run, checkout, tmp_path):
    with pytest.raises(error, match=words):
        train(from_flat(bridge_run | {"output": str(tmp_path)} | change), checkout)
    assert not torch.distributed.is_initialized() and "train_v2" not in sys.modules


def test_ranks_open_the_group_for_waiting_before_rank_0_builds_a_bank(bridge_run, checkout, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(distributed, "open_host_group", lambda: calls.append("group"))

    def build_setup(recipe):
        calls.append("bank")
        raise Interrupted

    monkeypatch.setattr(host, "build_setup", build_setup)
    with pytest.raises(Interrupted):
        train(from_flat(bridge_run | {"output": str(tmp_path)}), checkout)
    assert calls == ["group", "bank"]


def test_wandb_key_is_rejected(bridge_run):
    with pytest.raises(ValueError, match=r"upstream\['wandb_key'\] would be printed"):
        from_flat(bridge_run | {"upstream": {"wandb_key": "secret"}})
