"""Training a prior: it learns, resuming changes nothing, two ranks equal one; and the sample grid."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from PIL import Image

from aird_plugin.__main__ import main
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.degradation import resize_to_network_torch
from aird_plugin.data.lowres import to_input
from aird_plugin.prior import training
from aird_plugin.prior.model import build_scheduler, load_prior
from aird_plugin.prior.samples import sample
from aird_plugin.prior.state import build_state
from aird_plugin.utils import distributed
from aird_plugin.utils.errors import Interrupted
from tests.runs import metrics, write_recipe
from tests.skips import needs


def weights(folder):
    return load_prior(folder)[0].state_dict()


def test_run_folder_holds_prior_metrics_and_samples(prior_recipe):
    folder = training.train(prior_recipe())
    lines = metrics(folder)
    assert [line["step"] for line in lines] == [3, 6, 9, 12] and lines[-1]["loss"] < lines[0]["loss"]
    assert json.loads((folder / "recipe.json").read_text())["recipe"]["prior_side"] == 32
    grid = np.asarray(Image.open(folder / "samples.png"))
    assert grid.shape == (2 * 96 + 4, 3 * 96 + 8, 3)
    unet, _ = load_prior(folder)
    assert unet.config.sample_size == 32 and unet.config.block_out_channels == [8, 16]


def test_resumed_run_equals_an_uninterrupted_one(prior_recipe, tmp_path, monkeypatch):
    """Stopped at step 4, in the middle of an epoch."""
    whole = training.train(prior_recipe(output=str(tmp_path / "whole")))
    take_step = training.take_step

    class Stopped(list):
        def __enter__(self):
            return self

        def __exit__(self, *failure):
            pass

    stopped = Stopped()

    def four_steps(run, batch, step, rate):
        if step == 3:
            stopped.append(2)
        return take_step(run, batch, step, rate)

    with monkeypatch.context() as patch:
        patch.setattr(training, "take_step", four_steps)
        patch.setattr(training, "stop_signals", lambda: stopped)
        with pytest.raises(Interrupted, match="stopped at step 4 of 12"):
            training.train(prior_recipe(output=str(tmp_path / "cut")))
    assert not (tmp_path / "cut" / "unet").exists()
    cut = training.train(prior_recipe(output=str(tmp_path / "cut")))
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(cut)[name], value, rtol=0, atol=0)
    losses = [[line["loss"] for line in metrics(f)] for f in (whole, cut)]
    assert losses[0][-1] == pytest.approx(losses[1][-1])


def test_other_ranks_wait_for_the_pictures_without_a_timeout(prior_recipe, monkeypatch):
    """A barrier would end after rank_timeout."""
    events = []
    monkeypatch.setattr(training, "write_pictures", lambda *inputs: events.append("pictures"))
    monkeypatch.setattr(distributed, "wait_for_rank0", lambda: events.append("wait"))
    monkeypatch.setattr(distributed, "barrier", lambda: events.append("barrier"))
    training.train(prior_recipe(num_epoch=1))
    assert events[-2:] == ["pictures", "wait"]


def test_saved_weights_are_the_ema(prior_recipe):
    folder = training.train(prior_recipe())
    (last,) = sorted((folder / "checkpoints").glob("step_*"))[-1:]
    state = torch.load(last / "shared.pt", weights_only=True)
    assert not torch.equal(state["unet"]["conv_in.weight"], weights(folder)["conv_in.weight"])


def test_noise_is_a_function_of_the_step_and_sharded_by_rank(monkeypatch):
    noise, timestep = training.draw_noise(0, 5, 4, 8, 1000)
    torch.testing.assert_close(training.draw_noise(0, 5, 4, 8, 1000)[0], noise)
    assert not torch.equal(training.draw_noise(0, 6, 4, 8, 1000)[0], noise)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(training.draw_noise(0, 5, 2, 8, 1000))
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), noise)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), timestep)


def test_loss_is_v_prediction_with_new_noise_each_step(prior_recipe):
    """v = a * noise - s * image: the oracle of `test_perfect_prior_samples_the_true_image` has zero loss here."""
    run = build_state(prior_recipe())
    batch = run.source[0]
    face_B3SS, scheduler = to_input(batch.hr_BHWC), run.scheduler
    inputs = []

    def oracle(inputs_B6SS, timestep_B):
        assert torch.equal(inputs_B6SS[:, 3:], to_input(resize_to_network_torch(batch.images_BHWC, 32)))
        inputs.append(inputs_B6SS[:, :3])
        signal_B111 = scheduler.alphas_cumprod[timestep_B][:, None, None, None].sqrt()
        noise_level_B111 = (1 - signal_B111**2).sqrt()
        noise_B3SS = (inputs_B6SS[:, :3] - signal_B111 * face_B3SS) / noise_level_B111
        return SimpleNamespace(sample=signal_B111 * noise_B3SS - noise_level_B111 * face_B3SS)

    run.network = oracle
    assert training.denoising_loss(run, batch, 0) < 1e-6 and training.denoising_loss(run, batch, 1) < 1e-6
    assert not torch.equal(*inputs)


def on_rank(rank: int, keys: dict, place: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{place}", rank=rank, world_size=2)
    training.train(from_flat(keys))


@pytest.mark.slow
def test_two_ranks_equal_one(prior_keys, tmp_path):
    """Plain SGD: AdamW would turn a rounding difference of a gradient into a whole step."""
    keys = prior_keys | {"num_epoch": 1, "optimizer": "sgd", "lr": 0.1}
    one = training.train(from_flat(keys | {"output": str(tmp_path / "one")}))
    two = keys | {"output": str(tmp_path / "two"), "batch_size": 4}
    mp.spawn(on_rank, (two, str(tmp_path / "rendezvous")), nprocs=2)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-3, atol=1e-5)


def test_train_command_trains_a_prior_and_rejects_arcface_torch(prior_keys, tmp_path, capsys):
    recipe = write_recipe(tmp_path / "recipe.py", prior_keys)
    assert main(["train", str(recipe), "num_epoch=1"]) == 0
    assert "done: " in capsys.readouterr().out
    assert main(["train", str(recipe), "--arcface-torch", str(tmp_path)]) == 1
    assert "which arcface_torch's loop does not support" in capsys.readouterr().err


def test_bank_of_a_prior_is_built_in_advance(prior_keys, tmp_path, capsys):
    recipe = write_recipe(tmp_path / "recipe.py", prior_keys | {"bank": str(tmp_path / "bank")})
    assert main(["bank", str(recipe)]) == 0
    output = capsys.readouterr().out
    for side in (16, 32):
        assert (tmp_path / "bank" / f"low{side}-v2" / "manifest.json").exists() and f"low{side}-v2: 48 images" in output


def test_perfect_prior_samples_the_true_image():
    """DDIM with an oracle for v ends at the image from any noise."""
    needs("diffusers")
    scheduler = build_scheduler()
    face = torch.linspace(-0.9, 0.9, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)

    class Oracle:
        class config:
            in_channels = 3

        def __call__(self, noisy, timestep):
            signal = scheduler.alphas_cumprod[timestep].sqrt()
            noise = (noisy - signal * face) / (1 - signal**2).sqrt()
            self.sample = signal * noise - (1 - signal**2).sqrt() * face
            return self

    torch.testing.assert_close(sample(Oracle(), scheduler, face, 10), face, atol=2e-2, rtol=0)
