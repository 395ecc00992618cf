"""The stand-in for torchvision: each transform, and the errors for missing names."""

import numpy as np
import pytest
import torch
from PIL import Image

from aird_plugin.bridge.torchvision_standin import modules
from aird_plugin.data.lowres import to_input


@pytest.fixture
def transforms(in_place_of):
    """`from torchvision import transforms` with the stand-ins in place."""
    return in_place_of(modules(), "torchvision.transforms")


def test_all_import_forms(transforms):
    import torchvision
    from torchvision import transforms as from_package
    from torchvision.datasets import ImageFolder

    assert from_package is transforms is torchvision.transforms and torchvision.datasets.ImageFolder is ImageFolder
    assert modules()["torchvision"] is not torchvision


def test_missing_attributes_are_named(transforms):
    for name in ("RandomCrop", "functional"):
        with pytest.raises(AttributeError, match=f"stand-in for torchvision; it lacks torchvision.transforms.{name}; installing"):
            getattr(transforms, name)
    with pytest.raises(AttributeError, match="^module 'torchvision.transforms' has no attribute '__wrapped__'$"):
        _ = transforms.__wrapped__
    with pytest.raises(ImportError, match="models.*standin.py"):
        from torchvision import models  # noqa: F401


def test_image_folder_needs_torchvision(transforms):
    from torchvision.datasets import ImageFolder

    with pytest.raises(ImportError, match="training from an image folder .* needs torchvision itself"):
        ImageFolder("faces", None)


def test_to_pil_image_keeps_pixel_values(transforms, noise_faces):
    pixels = noise_faces(1)[0, :, :80]
    image = transforms.ToPILImage()(pixels)
    assert isinstance(image, Image.Image) and image.mode == "RGB" and image.size == (80, 112)
    assert (np.asarray(image) == pixels).all()
    for wrong in (pixels.astype(np.float32), pixels[..., 0], torch.zeros(3, 4, 4), "face"):
        with pytest.raises(TypeError, match="ToPILImage takes an array, uint8"):
            transforms.ToPILImage()(wrong)


def test_to_tensor_matches_hand_computation(transforms):
    levels = np.uint8([[[0, 51, 255], [1, 2, 3]]])
    tensor = transforms.ToTensor()(Image.fromarray(levels))
    assert tensor.dtype == torch.float32 and tensor.shape == (3, 1, 2) and tensor.is_contiguous()
    assert torch.equal(tensor, torch.tensor([[[0, 1 / 255]], [[51 / 255, 2 / 255]], [[1, 3 / 255]]]))
    grey = transforms.ToTensor()(Image.fromarray(levels[..., 2]))
    assert torch.equal(grey, torch.tensor([[[1, 3 / 255]]]))
    for wrong in (levels, Image.fromarray(levels).convert("CMYK")):
        with pytest.raises(TypeError, match="ToTensor takes a Pillow image"):
            transforms.ToTensor()(wrong)


def test_normalize_matches_hand_computation(transforms):
    tensor = torch.tensor([[[0.0, 1.0]], [[0.5, 0.25]]])
    original = tensor.clone()
    normalized = transforms.Normalize(mean=[0.5, 0.25], std=[0.5, 0.125])(tensor)
    assert torch.equal(normalized, torch.tensor([[[-1.0, 1.0]], [[2.0, 0.0]]])) and torch.equal(tensor, original)
    for wrong, std in ((tensor[0], [0.5]), (tensor, [0.5, 0.0])):
        with pytest.raises(ValueError, match="Normalize takes"):
            transforms.Normalize([0.5], std)(wrong)
    with pytest.raises(TypeError, match="float tensor; got torch.uint8"):
        transforms.Normalize([0.5], [0.5])(tensor.byte())


def test_flip_uses_torchvisions_random_draws(transforms):
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    torch.manual_seed(3)
    draws = [bool(torch.rand(1) < 0.3) for _ in range(200)]
    torch.manual_seed(3)
    flip = transforms.RandomHorizontalFlip(0.3)
    for flipped in draws:
        expected = np.asarray(image)[:, ::-1] if flipped else np.asarray(image)
        assert (np.asarray(flip(image)) == expected).all()
    assert 30 < sum(draws) < 90 and transforms.RandomHorizontalFlip().p == 0.5


@pytest.mark.parametrize("p", [0, 1])
def test_upstreams_transforms_equal_to_input(transforms, noise_faces, p):
    pixels = noise_faces(1)[0]
    chain = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomHorizontalFlip(p),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5]),
        ]
    )
    ours = to_input(torch.from_numpy(pixels[None]))[0]
    torch.testing.assert_close(chain(pixels), ours.flip(2) if p else ours, rtol=0, atol=1e-6)
