"""The prior's U-Net, its folder, and its encoder."""

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


def test_saved_prior_loads_as_the_same_frozen_network(prior_folder):
    unet, scheduler = load_prior(prior_folder)
    torch.manual_seed(0)
    fresh = build_unet(PriorConfig(prior_side=32, prior_widths=(8, 16))).eval()
    noisy, lr_images = torch.randn(2, 2, 3, 32, 32)
    torch.testing.assert_close(predict(unet, noisy, lr_images, 7), predict(fresh, noisy, lr_images, 7))
    assert not unet.training and not any(p.requires_grad for p in unet.parameters())
    assert scheduler.config.prediction_type == "v_prediction" and scheduler.config.num_train_timesteps == 1000
    assert [path.name for path in (prior_folder / "unet").iterdir() if path.suffix != ".json"] == [
        "diffusion_pytorch_model.safetensors"
    ]


def test_prediction_depends_on_the_lr_image(prior_folder):
    unet, _ = load_prior(prior_folder)
    noisy, lr_images = torch.randn(2, 2, 3, 32, 32)
    assert not torch.allclose(predict(unet, noisy, lr_images, 7), predict(unet, noisy, -lr_images, 7))


def remove_config(folder):
    (folder / "unet" / "config.json").unlink()


def break_weights(folder):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def break_config(folder):
    (folder / "unet" / "config.json").write_text("{")


def break_key(folder):
    """diffusers would initialize the missing weight at random, with a warning."""
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


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_config, "no unet/config.json there"),
        (break_weights, "cannot be read"),
        (break_config, "cannot be read"),
        (break_key, "do not fit its unet/config.json: conv_in.bias"),
        (break_width, "size mismatch"),
        (break_pickle, "cannot be read"),
        (break_scheduler, "cannot be read"),
    ],
)
def test_damaged_folder_is_rejected(prior_folder, damage, words):
    damage(prior_folder)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        load_prior(prior_folder)


def test_model_with_other_channels_is_rejected(tmp_path, prior_folder):
    latent = diffusers().UNet2DModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        norm_num_groups=4,
    )
    save_prior(tmp_path / "latent", latent, build_scheduler())
    with pytest.raises(ValueError, match="takes 4 channels of side 16"):
        load_prior(tmp_path / "latent")


def test_encoder_with_skip_blocks_is_rejected(tmp_path):
    needs("diffusers")
    unet = diffusers().UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("SkipDownBlock2D",) * 2,
        up_block_types=("SkipUpBlock2D",) * 2,
    )
    save_prior(tmp_path, unet, build_scheduler())
    with pytest.raises(ValueError, match="Skip blocks.; use one of plain blocks"):
        encoder(tmp_path)


def test_missing_package_error_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"pip install 'aird_plugin\[prior\]'"):
        diffusers()


@pytest.mark.parametrize("channels", [6, 3])
@pytest.mark.parametrize("layer", ["mid", "down"])
def test_encoder_equals_the_unets_down_path(tmp_path, noise_faces, channels, layer):
    """Against a hook in the forward pass of the whole network, for a conditional and an unconditional model."""
    needs("diffusers")
    torch.manual_seed(0)
    unet = (
        diffusers()
        .UNet2DModel(
            sample_size=32,
            in_channels=channels,
            out_channels=3,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4,
        )
        .eval()
    )
    save_prior(tmp_path, unet, build_scheduler())
    lr_images = noise_faces(3, side=16)
    found = encoder(tmp_path, prior_timestep=300, prior_layer=layer).features(lr_images)
    outputs = []
    block = unet.mid_block if layer == "mid" else unet.down_blocks[-1]
    block.register_forward_hook(lambda module, inputs, out: outputs.append(out if layer == "mid" else out[0]))
    upsampled = to_input(torch.from_numpy(resize_faces(lr_images, 32))).contiguous()
    with torch.no_grad():
        predict(unet, build_scheduler().alphas_cumprod[300].sqrt() * upsampled, upsampled, 300)
    # Convolutions over 9 * 32 numbers and normalised maps, some ten layers deep.
    np.testing.assert_allclose(found, outputs[0].numpy(), rtol=0, atol=10 * rounding(9 * 32, np.abs(found).max()))


def test_features_are_a_function_of_the_image_alone(prior_folder, noise_faces):
    prior = encoder(prior_folder)
    lr_images = noise_faces(5, side=16)
    assert prior.shape == (16, 16, 16) and prior.features(lr_images).dtype == np.float32
    found = prior.features(lr_images)
    np.testing.assert_allclose(
        found[2:3], prior.features(lr_images[2:3]), rtol=0, atol=10 * rounding(9 * 32, np.abs(found).max())
    )
    assert prior.features(lr_images[:0]).shape == (0, 16, 16, 16)


def test_timestep_and_layer_change_the_features_and_the_description(prior_folder, noise_faces):
    lr_images = noise_faces(2, side=16)
    base, late, down = encoder(prior_folder), encoder(prior_folder, prior_timestep=900), encoder(prior_folder, prior_layer="down")
    assert not np.allclose(base.features(lr_images), late.features(lr_images)) and not np.allclose(
        base.features(lr_images), down.features(lr_images)
    )
    assert late.describe() == base.describe() | {"timestep": 900}
    with pytest.raises(ValueError, match="prior_timestep must be below 1000"):
        encoder(prior_folder, prior_timestep=1000)


def test_digest_depends_on_the_weights(prior_folder):
    before = encoder(prior_folder).sha256
    assert encoder(prior_folder).sha256 == before
    unet, scheduler = load_prior(prior_folder)
    with torch.no_grad():
        unet.conv_in.bias += 1
    save_prior(prior_folder, unet, scheduler)
    assert encoder(prior_folder).sha256 != before
