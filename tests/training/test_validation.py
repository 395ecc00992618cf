"""Verification during training: what it says about the files of `val_targets`."""

import pytest

from aird_plugin.bridge.host import train as train_in_arcface_torch
from aird_plugin.config.recipe import from_flat
from aird_plugin.data.images import encode_jpeg, resized
from aird_plugin.data.pairs import write_pairs
from aird_plugin.training.loop import train
from tests.bridge.conftest import STANDIN
from tests.runs import train_on_two_ranks, write_recipe


@pytest.fixture
def small_keys(tiny_run, noise_faces, tmp_path):
    """Keys of a run that verifies twice, on a file of 38 images of 50 px and two of 112."""
    faces = [resized(face, 50) for face in noise_faces(38)] + list(noise_faces(2))
    write_pairs(tmp_path / "small.bin", [encode_jpeg(face) for face in faces], [True, False] * 10)
    keys = {"val_targets": (str(tmp_path / "small.bin"),), "verbose": 3, "num_epoch": 1, "output": str(tmp_path / "run")}
    return tiny_run | keys | {"val_protocols": ("lr-lr", "lr-hr")}


def warnings_of(text: str, keys: dict) -> int:
    """How often the text warns of this file, and checks the numbers."""
    [file] = keys["val_targets"]
    lines = [line for line in text.splitlines() if "upsampled" in line]
    expected = f"WARNING 38 of the 40 images of {file} have fewer than 112 px, the smallest 50: they were upsampled"
    assert all(expected in line for line in lines)
    return len(lines)


def test_upsampled_images_are_one_warning_on_two_ranks(small_keys, tmp_path):
    """`aird evaluate` prints it, and training enlarged such images without a word."""
    done = train_on_two_ranks(write_recipe(tmp_path / "recipe.py", small_keys))
    assert warnings_of(done.stderr, small_keys) == 1


def test_no_warning_of_images_that_are_large_enough(small_keys, capsys):
    train(from_flat(small_keys | {"val_protocols": ("lr-lr",)}))
    assert "upsampled" not in capsys.readouterr().err


def test_upsampled_images_are_one_warning_inside_arcface_torch(small_keys, capsys):
    """Its verification begins with images at full size, where the student takes them."""
    keys = {"val_protocols": ("lr-lr",), "network": "native112_0.05m", "frequent": 1}
    keys |= {"margin_gradient": "upstream", "gradient_compression": False}
    train_in_arcface_torch(from_flat(small_keys | keys), str(STANDIN))
    assert warnings_of(capsys.readouterr().err, small_keys) == 1
