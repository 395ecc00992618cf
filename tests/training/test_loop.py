import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aird_plugin.config.recipe import from_flat
from aird_plugin.data.degradation import resize_to_network
from aird_plugin.data.lowres import to_input
from aird_plugin.data.online_batches import OnlineFaces
from aird_plugin.models.native import Native
from aird_plugin.training import loop, run_log
from aird_plugin.training.loop import compute_loss, resume, take_step, train
from aird_plugin.training.state import build_state
from aird_plugin.training.validation import evaluate_run
from tests.exact import assert_equal_up_to_order
from tests.runs import assert_same_to_the_bit, metrics, train_on_two_ranks, weights, write_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uninterrupted(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    return train(from_flat(tiny_run | {"output": str(folder), "frequent": 1}))


def test_run_folder_holds_the_documented_files(uninterrupted):
    files = {path.name for path in uninterrupted.iterdir()}
    assert files == {"recipe.json", "model.pt", "means.json", "checkpoints", "metrics.jsonl", "tensorboard"}
    rows = metrics(uninterrupted)
    assert [line["step"] for line in rows] == list(range(1, 19))
    assert set(rows[0]) == {"step", "epoch", "lr", "loss", "identity", "iid", "rid", "align", "samples_per_s"}
    for line in rows:
        total = line["identity"] + line["iid"] + 2 * line["rid"] + 8 * line["align"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
    metadata = json.loads((uninterrupted / "recipe.json").read_text())
    assert metadata["resize"] == "pillow-bicubic-antialias/1" and metadata["px"] == 16 and metadata["records"]["faces"] == 48
    assert len(list((uninterrupted / "checkpoints").iterdir())) == 2


def test_checkpoint_holds_provenance(uninterrupted):
    newest = max((uninterrupted / "checkpoints").iterdir())
    metadata = json.loads(torch.load(newest / "shared.pt", weights_only=True)["facts"])
    assert metadata == json.loads((uninterrupted / "recipe.json").read_text())
    assert {"recipe", "records", "teacher", "versions", "code", "machine", "time", "world_size"} <= set(metadata)
    assert metadata["recipe"]["seed"] == 0 and len(metadata["records"]["sha256"]) == 64


def test_loss_falls(uninterrupted):
    """Epoch by epoch: the loss of a single step of eight images varies by a third."""
    loss = [line["loss"] for line in metrics(uninterrupted)]
    assert np.mean(loss[-6:]) < 0.7 * np.mean(loss[:6])


def test_same_seed_gives_the_same_weights(uninterrupted, tiny_run, tmp_path):
    again = train(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    assert_same_to_the_bit(weights(again), weights(uninterrupted))
    other = train(from_flat(tiny_run | {"output": str(tmp_path / "other"), "seed": 1}))
    assert any((weights(other)[n] != w).any() for n, w in weights(uninterrupted).items())


def start(tiny_run, folder: Path, *more: str, throttle: float = 0.05) -> subprocess.Popen:
    """The run in a process of its own, slow enough to be killed between steps."""
    keys = tiny_run | {"output": str(folder), "frequent": 1, "save_steps": 2}
    script = (
        "import sys, time, json\nfrom aird_plugin.training import loop\nfrom aird_plugin.utils.errors import Interrupted\n"
        "from aird_plugin.config.recipe import from_flat\nstep = loop.take_step\n"
        f"def slow(*a):\n    time.sleep({throttle})\n    return step(*a)\n"
        "loop.take_step = slow\n"
        "try:\n    loop.train(from_flat(json.loads(sys.argv[1])))\n"
        "except Interrupted as stop:\n    print(stop)\n    sys.exit(130)\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", script, json.dumps(keys)], env=env, stdout=subprocess.PIPE, text=True)


def wait_for_step(folder: Path, step: int) -> None:
    deadline = time.monotonic() + 60
    while not list((folder / "checkpoints").glob(f"step_*{step}")):
        assert time.monotonic() < deadline, "the run did not reach the step"
        time.sleep(0.005)


def test_resume_after_sigkill_is_bit_identical(uninterrupted, tiny_run, tmp_path):
    folder = tmp_path / "run"
    for step in (2, 8):
        process = start(tiny_run, folder)
        wait_for_step(folder, step)
        time.sleep(0.03)
        process.kill()
        process.wait()
        assert not (folder / "evaluation.json").exists()
    done = train(from_flat(tiny_run | {"output": str(folder), "frequent": 1, "save_steps": 2}))
    assert_same_to_the_bit(weights(done), weights(uninterrupted))
    drop = {"samples_per_s"}
    logs = [[{k: v for k, v in line.items() if k not in drop} for line in metrics(f)] for f in (done, uninterrupted)]
    assert logs[0] == logs[1]


def test_resumed_dropout_draws_the_masks_of_an_unbroken_run(tiny_run, tmp_path, monkeypatch):
    forward = Native.forward
    monkeypatch.setattr(Native, "forward", lambda self, x: torch.dropout(forward(self, x), 0.5, train=self.training))
    unbroken, broken = (
        from_flat(tiny_run | {"output": str(tmp_path / name), "save_steps": 6}) for name in ("unbroken", "broken")
    )
    expected = weights(train(unbroken))
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr("aird_plugin.training.loop.take_step", killed_at(8))
        train(broken)
    torch.rand(3)
    assert_same_to_the_bit(weights(train(broken)), expected)


def killed_at(last):
    def step(state, batches, number):
        if number == last:
            raise RuntimeError("killed")
        return take_step(state, batches, number)

    return step


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signal_saves_and_prints_how_to_resume(uninterrupted, tiny_run, tmp_path, number):
    folder = tmp_path / "run"
    process = start(tiny_run, folder)
    wait_for_step(folder, 4)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues from there" in out
    done = train(from_flat(tiny_run | {"output": str(folder)}))
    assert_same_to_the_bit(weights(done), weights(uninterrupted))


def test_finished_run_is_not_repeated(uninterrupted, tiny_run):
    before = (uninterrupted / "metrics.jsonl").read_text()
    train(from_flat(tiny_run | {"output": str(uninterrupted), "frequent": 1}))
    assert (uninterrupted / "metrics.jsonl").read_text() == before


def test_other_recipe_in_the_same_folder_is_rejected_by_key(uninterrupted, tiny_run):
    with pytest.raises(ValueError, match=r"lr was 0.05, now 0.1; iid_scale was 16.0, now 8.0"):
        train(from_flat(tiny_run | {"output": str(uninterrupted), "lr": 0.1, "iid_scale": 8.0}))


def test_older_run_resumes_with_defaults_of_newer_keys(uninterrupted, tiny_run, tmp_path):
    metadata = json.loads((uninterrupted / "recipe.json").read_text())
    del metadata["recipe"]["px_range"], metadata["recipe"]["margin"]
    keys = tiny_run | {"output": str(tmp_path), "frequent": 1}
    metadata["recipe"]["output"] = str(tmp_path)
    shutil.copytree(uninterrupted / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "recipe.json").write_text(json.dumps(metadata))
    margin = {"margin": "aird_plugin.losses.adaface:AdaFace"}
    with pytest.raises(ValueError, match=r"px_range was \[\], now \[8, 64\]; margin was None, now 'aird"):
        train(from_flat(keys | margin | {"px_range": (8, 64)}))
    train(from_flat(keys))


def test_nonfinite_loss_raises_before_the_optimizer_step(tiny_run, tmp_path):
    state = build_state(from_flat(tiny_run | {"output": str(tmp_path)}))
    before = {name: value.clone() for name, value in state.setup.student.named_parameters()}
    batch = state.setup.source[0]
    batch.teacher_BD[0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"step 3: .*identity=\d.*iid=nan.*align=nan"):
        take_step(state, [batch], 3)
    for name, value in state.setup.student.named_parameters():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp", "noise"])
def test_bank_and_online_path_have_the_same_loss(tiny_run, tmp_path, degradation):
    """The bank holds teacher embeddings in float16: terms agree to 1e-3 relative, the student's input to the bit."""
    keys = tiny_run | {"output": str(tmp_path), "views": 4, "bank": str(tmp_path / "bank"), "degradation": degradation}
    from_bank, online = build_state(from_flat(keys)), build_state(from_flat(keys | {"online": True}))
    assert isinstance(online.setup.source, OnlineFaces)
    for number in range(3):
        a, b = from_bank.setup.source[number], online.setup.source[number]
        assert torch.equal(a.images_BHWC, b.images_BHWC) and torch.equal(a.label_B, b.label_B)
        one, other = (compute_loss(t, batch, 0, number) for t, batch in ((from_bank, a), (online, b)))
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp"])
def test_student_input_follows_the_recipes_degradation(tiny_run, tmp_path, pairs_file, degradation):
    """In training and in validation."""
    keys = {"output": str(tmp_path), "degradation": degradation, "val_targets": (pairs_file,)}
    state = build_state(from_flat(tiny_run | keys))
    inputs = []
    state.setup.student.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    batch = state.setup.source[0]
    compute_loss(state, batch, 0, 0)
    expected = resize_to_network(batch.images_BHWC.numpy(), state.setup.student.input_size, degradation)
    assert torch.equal(inputs[0], to_input(torch.from_numpy(expected)))
    rows = evaluate_run(state.setup)
    assert rows and {row["degradation"] for row in rows} == {degradation}


def test_every_rank_finds_an_infinite_gradient_of_a_term_on_one_of_them(tiny_run, tmp_path, monkeypatch):
    """The loss scaler skips the step where it finds one: its search comes after the mean over ranks."""
    state, order = build_state(from_flat(tiny_run | {"output": str(tmp_path / "out")})), []
    monkeypatch.setattr(loop.distributed, "average_gradients", lambda _: order.append("average"))
    monkeypatch.setattr(state.scaler, "unscale_", lambda _: order.append("unscale"))
    take_step(state, [state.setup.source[0]], 0)
    assert order == ["average", *["unscale"] * len(state.optimizers)]


def test_accumulated_batches_are_averaged(tiny_run, tmp_path):
    """Two half batches accumulate to the gradient of the whole one; the student's BatchNorm is frozen here."""
    gradients = []

    def in_float64(module, inputs):
        return tuple(x.double() for x in inputs)

    for accumulate in (1, 2):
        keys = tiny_run | {"output": str(tmp_path), "gradient_acc": accumulate, "batch_size": 8 // accumulate, "clip": 0.0}
        keys |= {"terms": {"align": tiny_run["terms"]["align"]}}
        keys.pop("rid_negatives")
        state = build_state(from_flat(keys))
        state.network.train = lambda mode=True, network=state.network: torch.nn.Module.train(network, False)
        state.network.register_forward_pre_hook(in_float64)
        state.network.double(), state.head.double()
        # The fused optimizers were made for float32; the gradients are read before any step.
        for optimizer in state.optimizers:
            optimizer.step = lambda: None
        batches = [state.setup.source[n] for n in range(accumulate)]
        take_step(state, [replace(batch, teacher_BD=batch.teacher_BD.double()) for batch in batches], 0)
        gradients.append([p.grad.clone() for p in state.setup.student.parameters() if p.grad is not None])
    for whole, halves in zip(*gradients, strict=True):
        assert_equal_up_to_order(halves, whole)


def test_loader_workers_return_the_same_batches(uninterrupted, tiny_run, tmp_path):
    done = train(from_flat(tiny_run | {"output": str(tmp_path / "run"), "num_workers": 2, "num_epoch": 3}))
    assert_same_to_the_bit(weights(done), weights(uninterrupted))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_image": 47}, "num_image=47, but .* holds 48 images"),
        ({"num_classes": 7}, "labels in .* run from 0 to 7, but num_classes=7"),
        ({"teacher": None}, "needs a teacher"),
        ({"embedding_size": 16}, "embedding_size=16, but the teacher's is 8"),
        ({"batch_size": 64}, "48 images do not fill one batch of 64"),
        ({"rid_negatives": 17}, "17 negatives requested, but the bank lists 16"),
        ({"terms": dict.fromkeys(("rid", "rid2"), "aird_plugin.losses.relation:RID")}, "rid, rid2 share one sample"),
        ({"device": "cuda"}, "device=cuda"),
    ],
)
def test_invalid_recipe_is_rejected_before_training(tiny_run, tmp_path, change, words):
    if "cuda" in change.values() and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match=words):
        build_state(from_flat(tiny_run | {"output": str(tmp_path)} | change))


def test_run_is_validated_during_training(tiny_run, tmp_path, pairs_file, capsys):
    keys = tiny_run | {"output": str(tmp_path / "run"), "val_targets": (pairs_file,), "verbose": 6, "facebn": "full", "keep": 0.1}
    train(from_flat(keys))
    rows = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [(row["protocol"], row["high_side"], row["facebn"], row["keep"], row["px"]) for row in rows] == [
        ("lr-lr", None, None, None, 16),
        ("lr-lr", None, "full", 0.1, 16),
        ("lr-hr", "teacher", None, None, 16),
        ("lr-hr", "teacher", "full", 0.1, 16),
    ]
    output = capsys.readouterr().err
    assert output.count("pairs/lr-lr/16px") == 6 and "step 6 " in output and "step 12 " in output
    low, high = rows[0]["ci95"]
    assert f"pairs/lr-lr/16px: accuracy {rows[0]['accuracy']:.2f} (95% interval {low:.2f}..{high:.2f})\n" in output


def test_speed_is_that_of_the_steps_without_verification_and_checkpoints(tiny_run, tmp_path, pairs_file, monkeypatch):
    """A clock that moves a second with each step, and 1,000 with each verification and each checkpoint."""
    now = [0.0]

    def taking(seconds: float, function):
        def timed(*args, **options):
            now[0] += seconds
            return function(*args, **options)

        return timed

    for name, seconds in {"take_step": 1, "evaluate_run": 1000, "save": 1000}.items():
        monkeypatch.setattr(loop, name, taking(seconds, getattr(loop, name)))
    monkeypatch.setattr(run_log, "time", SimpleNamespace(monotonic=lambda: now[0]))
    keys = {"output": str(tmp_path / "run"), "val_targets": (pairs_file,), "verbose": 3, "save_steps": 2, "frequent": 4}
    train(from_flat(tiny_run | keys))
    rows = metrics(tmp_path / "run")
    assert now[0] > 5000 and len(rows) > 1 and {row["samples_per_s"] for row in rows} == {tiny_run["batch_size"]}


def test_student_without_a_teacher_has_no_lr_hr_protocol(tiny_run, tmp_path, pairs_file):
    keys = {k: v for k, v in tiny_run.items() if k not in ("terms", "rid_negatives", "teacher", "teacher_network")}
    keys |= {"head_init": "random", "embedding_size": 8, "output": str(tmp_path / "run"), "val_targets": (pairs_file,)}
    train(from_flat(keys))
    rows = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [row["protocol"] for row in rows] == ["lr-lr"]


def test_two_ranks_under_torchrun_resume_on_one(tiny_run, tmp_path, pairs_file):
    """The whole program on two ranks; one rank then resumes from their checkpoint, class centers concatenated."""
    folder = tmp_path / "run"
    keys = tiny_run | {"output": str(folder), "batch_size": 4, "num_epoch": 2, "frequent": 1}
    keys |= {"val_targets": (pairs_file,), "verbose": 5}
    recipe = write_recipe(tmp_path / "tiny.py", keys)
    done = train_on_two_ranks(recipe)
    assert done.stdout.count("done: ") == 1 and "Warning" not in done.stderr
    assert len(json.loads((folder / "evaluation.json").read_text())) == 2
    last = max((folder / "checkpoints").iterdir())
    assert {path.name for path in last.iterdir()} == {"shared.pt", "head_0.pt", "head_1.pt"}
    assert [line["step"] for line in metrics(folder)] == list(range(1, 13))
    state = build_state(from_flat(keys | {"batch_size": 8}))
    assert resume(state) == 12
    parts = [torch.load(last / f"head_{rank}.pt", weights_only=True)["weight"] for rank in range(2)]
    assert torch.equal(state.head.weight, torch.cat(parts))
    with pytest.raises(ValueError, match="took 8 images a step, on 2 rank"):
        train(from_flat(keys))
    train(from_flat(keys | {"batch_size": 8, "num_epoch": 3}))
    assert [(line["step"], line["epoch"]) for line in metrics(folder)][-1] == (18, 3.0)
