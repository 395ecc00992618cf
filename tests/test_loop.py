import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aird_plugin.assemble import assemble
from aird_plugin.data.degrade import arrive
from aird_plugin.data.faces import OnlineFaces
from aird_plugin.data.lowres import to_input
from aird_plugin.evaluation.during import evaluate_run
from aird_plugin.loop import compute_loss, resume, take_step, train
from aird_plugin.recipe import from_flat
from tests.exact import assert_equal_up_to_order

ROOT = Path(__file__).parents[1]


def weights(folder) -> dict[str, torch.Tensor]:
    return torch.load(Path(folder) / "model.pt", weights_only=True)


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def assert_same_to_the_bit(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def unbroken(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    return train(from_flat(tiny_run | {"output": str(folder), "frequent": 1}))


def test_a_run_leaves_what_it_promises(unbroken):
    files = {path.name for path in unbroken.iterdir()}
    assert files == {"recipe.json", "model.pt", "checkpoints", "metrics.jsonl", "tensorboard"}
    told = lines(unbroken)
    assert [line["step"] for line in told] == list(range(1, 19))
    assert set(told[0]) == {"step", "epoch", "lr", "loss", "identity", "iid", "rid", "align", "samples_per_s"}
    for line in told:
        total = line["identity"] + line["iid"] + 2 * line["rid"] + 8 * line["align"]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
    facts = json.loads((unbroken / "recipe.json").read_text())
    assert facts["resize"] == "pillow-bicubic-antialias/1" and facts["px"] == 16 and facts["records"]["faces"] == 48
    assert len(list((unbroken / "checkpoints").iterdir())) == 2


def test_a_checkpoint_tells_what_made_it(unbroken):
    newest = max((unbroken / "checkpoints").iterdir())
    facts = json.loads(torch.load(newest / "shared.pt", weights_only=True)["facts"])
    assert facts == json.loads((unbroken / "recipe.json").read_text())
    assert {"recipe", "records", "teacher", "versions", "code", "machine", "time", "world_size"} <= set(facts)
    assert facts["recipe"]["seed"] == 0 and len(facts["records"]["sha256"]) == 64


def test_it_learns(unbroken):
    told = lines(unbroken)
    assert told[-1]["align"] < 0.95 * told[0]["align"]


def test_the_same_seed_gives_the_same_weights(unbroken, tiny_run, tmp_path):
    again = train(from_flat(tiny_run | {"output": str(tmp_path / "run")}))
    assert_same_to_the_bit(weights(again), weights(unbroken))
    other = train(from_flat(tiny_run | {"output": str(tmp_path / "other"), "seed": 1}))
    assert any((weights(other)[n] != w).any() for n, w in weights(unbroken).items())


def start(tiny_run, folder: Path, *more: str, throttle: float = 0.05) -> subprocess.Popen:
    """The run in a process of its own, slow enough to be shot at."""
    keys = tiny_run | {"output": str(folder), "frequent": 1, "save_steps": 2}
    script = (
        "import sys, time, json\nfrom aird_plugin import loop\nfrom aird_plugin.errors import Interrupted\n"
        "from aird_plugin.recipe import from_flat\nstep = loop.take_step\n"
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
        assert time.monotonic() < deadline, "the run never got there"
        time.sleep(0.005)


def test_kill_9_and_resume_equal_the_unbroken_run_to_the_bit(unbroken, tiny_run, tmp_path):
    folder = tmp_path / "run"
    for step in (2, 8):
        process = start(tiny_run, folder)
        wait_for_step(folder, step)
        time.sleep(0.03)
        process.kill()
        process.wait()
        assert not (folder / "evaluation.json").exists()
    done = train(from_flat(tiny_run | {"output": str(folder), "frequent": 1, "save_steps": 2}))
    assert_same_to_the_bit(weights(done), weights(unbroken))
    drop = {"samples_per_s"}
    told = [[{k: v for k, v in line.items() if k not in drop} for line in lines(f)] for f in (done, unbroken)]
    assert told[0] == told[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_signal_saves_and_says_how_to_go_on(unbroken, tiny_run, tmp_path, number):
    folder = tmp_path / "run"
    process = start(tiny_run, folder)
    wait_for_step(folder, 4)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command goes on from there" in out
    done = train(from_flat(tiny_run | {"output": str(folder)}))
    assert_same_to_the_bit(weights(done), weights(unbroken))


def test_a_finished_run_is_not_run_again(unbroken, tiny_run):
    before = (unbroken / "metrics.jsonl").read_text()
    train(from_flat(tiny_run | {"output": str(unbroken), "frequent": 1}))
    assert (unbroken / "metrics.jsonl").read_text() == before


def test_another_recipe_in_the_same_folder_is_refused_by_key(unbroken, tiny_run):
    with pytest.raises(ValueError, match=r"lr was 0.05, now 0.1; iid_scale was 16.0, now 8.0"):
        train(from_flat(tiny_run | {"output": str(unbroken), "lr": 0.1, "iid_scale": 8.0}))


def test_a_run_of_an_older_version_had_the_defaults_of_newer_keys(unbroken, tiny_run, tmp_path):
    facts = json.loads((unbroken / "recipe.json").read_text())
    del facts["recipe"]["px_range"], facts["recipe"]["margin"]
    keys = tiny_run | {"output": str(tmp_path), "frequent": 1}
    facts["recipe"]["output"] = str(tmp_path)
    shutil.copytree(unbroken / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "recipe.json").write_text(json.dumps(facts))
    margin = {"margin": "aird_plugin.losses.adaface:AdaFace"}
    with pytest.raises(ValueError, match=r"px_range was \[\], now \[8, 64\]; margin was None, now 'aird"):
        train(from_flat(keys | margin | {"px_range": (8, 64)}))
    train(from_flat(keys))


def test_a_non_finite_loss_stops_before_the_optimizer_moves(tiny_run, tmp_path):
    training = assemble(from_flat(tiny_run | {"output": str(tmp_path)}))
    before = {name: value.clone() for name, value in training.student.named_parameters()}
    batch = training.source[0]
    batch.teacher_BD[0] = float("nan")
    with pytest.raises(FloatingPointError, match=r"step 3: .*identity=\d.*iid=nan.*align=nan"):
        take_step(training, [batch], 3)
    for name, value in training.student.named_parameters():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp", "noise"])
def test_bank_and_online_path_give_the_same_loss(tiny_run, tmp_path, degradation):
    """The bank keeps teacher embeddings in float16: terms agree to 1e-3 relative, the student's input to the bit."""
    keys = tiny_run | {"output": str(tmp_path), "views": 4, "bank": str(tmp_path / "bank"), "degradation": degradation}
    from_bank, online = assemble(from_flat(keys)), assemble(from_flat(keys | {"online": True}))
    assert isinstance(online.source, OnlineFaces)
    for number in range(3):
        a, b = from_bank.source[number], online.source[number]
        assert torch.equal(a.faces_BHWC, b.faces_BHWC) and torch.equal(a.person_B, b.person_B)
        one, other = (compute_loss(t, batch, 0, number) for t, batch in ((from_bank, a), (online, b)))
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("degradation", ["bicubic", "insightface-warp"])
def test_the_student_sees_faces_as_the_recipe_degrades_them(tiny_run, tmp_path, pairs_file, degradation):
    """In training and in the run's own verification."""
    keys = {"output": str(tmp_path), "degradation": degradation, "val_targets": (pairs_file,)}
    training = assemble(from_flat(tiny_run | keys))
    seen = []
    training.student.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    batch = training.source[0]
    compute_loss(training, batch, 0, 0)
    expected = arrive(batch.faces_BHWC.numpy(), training.student.input_size, degradation)
    assert torch.equal(seen[0], to_input(torch.from_numpy(expected)))
    rows = evaluate_run(training)
    assert rows and {row["degradation"] for row in rows} == {degradation}


def test_accumulated_batches_are_averaged(tiny_run, tmp_path):
    """Two half batches give the gradient of the whole one; the student here has its BatchNorm frozen."""
    gradients = []

    def in_float64(module, inputs):
        return tuple(x.double() for x in inputs)

    for accumulate in (1, 2):
        keys = tiny_run | {"output": str(tmp_path), "gradient_acc": accumulate, "batch_size": 8 // accumulate, "clip": 0.0}
        keys |= {"terms": {"align": tiny_run["terms"]["align"]}}
        keys.pop("rid_negatives")
        training = assemble(from_flat(keys))
        training.network.train = lambda mode=True, network=training.network: torch.nn.Module.train(network, False)
        training.network.register_forward_pre_hook(in_float64)
        training.network.double(), training.head.double()
        # The fused optimizers were made for float32; the gradients are looked at before they move.
        for optimizer in training.optimizers:
            optimizer.step = lambda: None
        batches = [training.source[n] for n in range(accumulate)]
        take_step(training, [replace(batch, teacher_BD=batch.teacher_BD.double()) for batch in batches], 0)
        gradients.append([p.grad.clone() for p in training.student.parameters() if p.grad is not None])
    for whole, halves in zip(*gradients, strict=True):
        assert_equal_up_to_order(halves, whole)


def test_workers_prepare_the_same_batches(unbroken, tiny_run, tmp_path):
    done = train(from_flat(tiny_run | {"output": str(tmp_path / "run"), "num_workers": 2, "num_epoch": 3}))
    assert_same_to_the_bit(weights(done), weights(unbroken))


@pytest.mark.parametrize(("change", "words"), [
    ({"num_image": 47}, "num_image=47, but .* holds 48 faces"),
    ({"num_classes": 7}, "labels in .* run from 0 to 7, but num_classes=7"),
    ({"teacher": None}, "needs a teacher"),
    ({"embedding_size": 16}, "embedding_size=16, but the teacher's is 8"),
    ({"batch_size": 64}, "48 faces do not fill one batch of 64"),
    ({"rid_negatives": 17}, "17 negatives asked, but the bank lists 16"),
    ({"terms": dict.fromkeys(("rid", "rid2"), "aird_plugin.losses.relation:Relation")}, "rid, rid2 share one draw"),
    ({"device": "cuda"}, "device=cuda"),
])  # fmt: skip
def test_what_does_not_fit_is_told_before_training(tiny_run, tmp_path, change, words):
    if "cuda" in change.values() and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match=words):
        assemble(from_flat(tiny_run | {"output": str(tmp_path)} | change))


def test_a_run_verifies_itself_as_it_goes(tiny_run, tmp_path, pairs_file, capsys):
    keys = tiny_run | {"output": str(tmp_path / "run"), "val_targets": (pairs_file,), "verbose": 6, "facebn": "full", "keep": 0.1}
    train(from_flat(keys))
    rows = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [(row["protocol"], row["high_side"], row["facebn"], row["keep"], row["px"]) for row in rows] == [
        ("lr-lr", None, None, None, 16), ("lr-lr", None, "full", 0.1, 16),
        ("lr-hr", "teacher", None, None, 16), ("lr-hr", "teacher", "full", 0.1, 16),
    ]  # fmt: skip
    told = capsys.readouterr().err
    assert told.count("pairs/lr-lr/16px") == 4 and "step 6 " in told and "step 12 " in told


def test_a_student_without_a_teacher_has_no_lr_hr(tiny_run, tmp_path, pairs_file):
    keys = {k: v for k, v in tiny_run.items() if k not in ("terms", "rid_negatives", "teacher", "teacher_network")}
    keys |= {"head_init": "random", "embedding_size": 8, "output": str(tmp_path / "run"), "val_targets": (pairs_file,)}
    train(from_flat(keys))
    rows = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert [row["protocol"] for row in rows] == ["lr-lr"]


def test_two_ranks_under_torchrun_and_on_with_one(tiny_run, tmp_path, pairs_file):
    """The whole program on two ranks; one rank then goes on from their checkpoint, class centres joined."""
    folder = tmp_path / "run"
    keys = tiny_run | {"output": str(folder), "batch_size": 4, "num_epoch": 2, "frequent": 1}
    keys |= {"val_targets": (pairs_file,), "verbose": 5}
    recipe = tmp_path / "tiny.py"
    recipe.write_text(f"from easydict import EasyDict\nconfig = EasyDict({keys!r})\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(ROOT / "train.py")]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(recipe)], env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: ") == 1
    assert len(json.loads((folder / "evaluation.json").read_text())) == 2
    last = max((folder / "checkpoints").iterdir())
    assert {path.name for path in last.iterdir()} == {"shared.pt", "head_0.pt", "head_1.pt"}
    assert [line["step"] for line in lines(folder)] == list(range(1, 13))
    training = assemble(from_flat(keys | {"batch_size": 8}))
    assert resume(training) == 12
    parts = [torch.load(last / f"head_{rank}.pt", weights_only=True)["weight"] for rank in range(2)]
    assert torch.equal(training.head.weight, torch.cat(parts))
