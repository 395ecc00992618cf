"""The U-Net, its folder, and its encoder."""

import json
import sys

import numpy as np
import pytest
import torch

from aird_plugin.data.lowres import resize_faces, to_input
from aird_plugin.prior.config import PriorConfig
from aird_plugin.prior.encoder import Encoder
from aird_plugin.prior.model import build_scheduler, build_unet, diffusers, load_prior, predict, save_prior
from tests.exact import rounding
from tests.skips import needs


def encoder(folder, **keys):
    return Encoder(PriorConfig(prior=str(folder), **keys))


def test_a_folder_gives_back_the_same_network_frozen(prior_folder):
    unet, scheduler = load_prior(prior_folder)
    torch.manual_seed(0)
    fresh = build_unet(PriorConfig(prior_side=32, prior_widths=(8, 16))).eval()
    noisy, low = torch.randn(2, 2, 3, 32, 32)
    torch.testing.assert_close(predict(unet, noisy, low, 7), predict(fresh, noisy, low, 7))
    assert not unet.training and not any(p.requires_grad for p in unet.parameters())
    assert scheduler.config.prediction_type == "v_prediction" and scheduler.config.num_train_timesteps == 1000
    assert [path.name for path in (prior_folder / "unet").iterdir() if path.suffix != ".json"] == [
        "diffusion_pytorch_model.safetensors"
    ]


def test_it_looks_at_the_low_face(prior_folder):
    unet, _ = load_prior(prior_folder)
    noisy, low = torch.randn(2, 2, 3, 32, 32)
    assert not torch.allclose(predict(unet, noisy, low, 7), predict(unet, noisy, -low, 7))


def break_nothing_there(folder):
    (folder / "unet" / "config.json").unlink()


def break_weights(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def break_config(folder):
    (folder / "unet" / "config.json").write_text("{")


def break_key(folder):
    """diffusers would fill what is missing at random, with a warning."""
    from safetensors.torch import load_file, save_file

    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["conv_in.bias"]
    save_file(state, path, {"format": "pt"})


def break_width(folder):
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layers_per_block": 2}))


def break_pickle(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")


def break_scheduler(folder):
    (folder / "scheduler" / "scheduler_config.json").unlink()


@pytest.mark.parametrize(("harm", "words"), [
    (break_nothing_there, "no unet/config.json there"),
    (break_weights, "cannot be read"),
    (break_config, "cannot be read"),
    (break_key, "do not fit its unet/config.json: conv_in.bias"),
    (break_width, "size mismatch"),
    (break_pickle, "cannot be read"),
    (break_scheduler, "cannot be read"),
])  # fmt: skip
def test_a_harmed_folder_is_told(prior_folder, harm, words):
    harm(prior_folder)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_prior(prior_folder)


def test_a_model_of_other_channels_is_refused(tmp_path, prior_folder):
    latent = diffusers().UNet2DModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(8,), down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",), norm_num_groups=4,
    )  # fmt: skip
    save_prior(tmp_path / "latent", latent, build_scheduler())
    with pytest.raises(ValueError, match="takes 4 channels of side 16"):
        load_prior(tmp_path / "latent")


def test_a_way_down_of_another_kind_is_refused(tmp_path):
    needs("diffusers")
    unet = diffusers().UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("SkipDownBlock2D",) * 2, up_block_types=("SkipUpBlock2D",) * 2,
    )  # fmt: skip
    save_prior(tmp_path, unet, build_scheduler())
    with pytest.raises(ValueError, match="Skip blocks.; take one of plain blocks"):
        encoder(tmp_path)


def test_the_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"pip install 'aird_plugin\[prior\]'"):
        diffusers()


@pytest.mark.parametrize("channels", [6, 3])
@pytest.mark.parametrize("layer", ["mid", "down"])
def test_the_encoder_is_the_unets_own_way_down(tmp_path, noise_faces, channels, layer):
    """What a hook sees in the whole network's forward, for a conditional and an unconditional model."""
    needs("diffusers")
    torch.manual_seed(0)
    unet = diffusers().UNet2DModel(
        sample_size=32, in_channels=channels, out_channels=3, block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=4,
    ).eval()  # fmt: skip
    save_prior(tmp_path, unet, build_scheduler())
    low = noise_faces(3, side=16)
    found = encoder(tmp_path, prior_timestep=300, prior_layer=layer).features(low)
    seen = []
    watched = unet.mid_block if layer == "mid" else unet.down_blocks[-1]
    watched.register_forward_hook(lambda module, inputs, out: seen.append(out if layer == "mid" else out[0]))
    grown = to_input(torch.from_numpy(resize_faces(low, 32))).contiguous()
    with torch.no_grad():
        predict(unet, build_scheduler().alphas_cumprod[300].sqrt() * grown, grown, 300)
    # Convolutions over 9 * 32 numbers and normalised maps, some ten layers deep.
    np.testing.assert_allclose(found, seen[0].numpy(), rtol=0, atol=10 * rounding(9 * 32, np.abs(found).max()))


def test_features_are_a_function_of_the_face_alone(prior_folder, noise_faces):
    teacher = encoder(prior_folder)
    low = noise_faces(5, side=16)
    assert teacher.shape == (16, 16, 16) and teacher.features(low).dtype == np.float32
    found = teacher.features(low)
    np.testing.assert_allclose(found[2:3], teacher.features(low[2:3]), rtol=0, atol=10 * rounding(9 * 32, np.abs(found).max()))
    assert teacher.features(low[:0]).shape == (0, 16, 16, 16)


def test_timestep_and_layer_matter_and_are_named(prior_folder, noise_faces):
    low = noise_faces(2, side=16)
    base, late, down = encoder(prior_folder), encoder(prior_folder, prior_timestep=900), encoder(prior_folder, prior_layer="down")
    assert not np.allclose(base.features(low), late.features(low)) and not np.allclose(base.features(low), down.features(low))
    assert late.describe() == base.describe() | {"timestep": 900}
    with pytest.raises(ValueError, match="prior_timestep must be below 1000"):
        encoder(prior_folder, prior_timestep=1000)


def test_other_weights_have_another_digest(prior_folder):
    before = encoder(prior_folder).sha256
    assert encoder(prior_folder).sha256 == before
    unet, scheduler = load_prior(prior_folder)
    with torch.no_grad():
        unet.conv_in.bias += 1
    save_prior(prior_folder, unet, scheduler)
    assert encoder(prior_folder).sha256 != before
