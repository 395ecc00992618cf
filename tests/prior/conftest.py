"""A prior that takes a second to train."""

import pytest

from aird_plugin.config.recipe import from_flat
from tests.skips import needs


@pytest.fixture
def prior_keys(tiny_run, tmp_path):
    """Keys of a run that trains a prior: 48 images, two levels, two epochs of six steps."""
    needs("diffusers")
    kept = ("rec", "px", "bank", "device")
    return {key: tiny_run[key] for key in kept} | {
        "prior_side": 32,
        "prior_widths": (8, 16),
        "prior_pictures": 2,
        "prior_sampling_steps": 2,
        "optimizer": "adamw",
        "batch_size": 8,
        "lr": 1e-3,
        "num_epoch": 2,
        "schedule": "cosine",
        "frequent": 3,
        "output": str(tmp_path / "prior"),
    }


@pytest.fixture
def prior_recipe(prior_keys):
    """A function that returns the validated recipe; keywords override keys."""
    return lambda **changes: from_flat(prior_keys | changes)


@pytest.fixture
def prior_folder(tmp_path):
    """Folder of an untrained prior."""
    needs("diffusers")
    import torch

    from aird_plugin.prior.config import PriorConfig
    from aird_plugin.prior.model import build_scheduler, build_unet, save_prior

    torch.manual_seed(0)
    folder = tmp_path / "untrained"
    save_prior(folder, build_unet(PriorConfig(prior_side=32, prior_widths=(8, 16))), build_scheduler())
    return folder
