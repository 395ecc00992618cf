"""The part of torchvision that arcface_torch's dataset.py uses to convert an image to a tensor, with the same behaviour."""

from types import ModuleType

import numpy as np
import torch
from PIL import Image

from aird_plugin.bridge.mxnet_standin import standin

REMEDY = "installing torchvision replaces the stand-in"


def modules() -> dict[str, ModuleType]:
    """Name in sys.modules -> a new stand-in module: torchvision, torchvision.transforms and torchvision.datasets."""
    steps = (Compose, ToPILImage, RandomHorizontalFlip, ToTensor, Normalize)
    transforms = standin("torchvision.transforms", {step.__name__: step for step in steps}, REMEDY)
    datasets = standin("torchvision.datasets", {"ImageFolder": ImageFolder}, REMEDY)
    parent = standin("torchvision", {"transforms": transforms, "datasets": datasets}, REMEDY, package=True)
    return {module.__name__: module for module in (parent, transforms, datasets)}


class Compose:
    """Apply transforms in sequence."""

    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, img):
        for transform in self.transforms:
            img = transform(img)
        return img


class ToPILImage:
    """uint8 (H, W, 3) RGB -> Pillow image. Raises TypeError for anything else."""

    def __call__(self, pic: np.ndarray) -> Image.Image:
        if not isinstance(pic, np.ndarray) or pic.dtype != np.uint8 or pic.ndim != 3 or pic.shape[2] != 3:
            got = f"{pic.dtype} {tuple(pic.shape)}" if hasattr(pic, "shape") else type(pic).__name__
            raise TypeError(f"the stand-in for torchvision's ToPILImage takes an array, uint8 (H, W, 3); got {got}; {REMEDY}")
        return Image.fromarray(pic)


class RandomHorizontalFlip:
    """Mirror a Pillow image left to right with probability `p`: like torchvision, one `torch.rand(1)` per image."""

    def __init__(self, p: float = 0.5):
        self.p = p

    def __call__(self, img: Image.Image) -> Image.Image:
        return img.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if torch.rand(1) < self.p else img


class ToTensor:
    """Pillow image, RGB or greyscale -> float32 (3 or 1, H, W) in 0..1. Raises TypeError for anything else."""

    def __call__(self, pic: Image.Image) -> torch.Tensor:
        if not isinstance(pic, Image.Image) or pic.mode not in ("RGB", "L"):
            got = f"mode {pic.mode}" if isinstance(pic, Image.Image) else type(pic).__name__
            raise TypeError(f"the stand-in for torchvision's ToTensor takes a Pillow image, RGB or grey; got {got}; {REMEDY}")
        levels_HWC = torch.from_numpy(np.array(pic)).view(pic.height, pic.width, -1)
        return levels_HWC.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Normalize:
    """(tensor - mean) / std per channel of a float (..., C, H, W).

    Raises TypeError for another dtype, ValueError for fewer dimensions or a std of 0.
    """

    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            raise TypeError(f"Normalize takes a float tensor; got {tensor.dtype}")
        mean, std = (torch.as_tensor(part, dtype=tensor.dtype).to(tensor.device).view(-1, 1, 1) for part in (self.mean, self.std))
        if tensor.ndim < 3 or (std == 0).any():
            raise ValueError(f"Normalize takes (..., C, H, W) and a std without 0; got {tuple(tensor.shape)} and std {self.std}")
        return (tensor - mean) / std


class ImageFolder:
    """A name to import; creating an instance raises ImportError."""

    def __init__(self, *args, **kwargs):
        raise ImportError(
            "training from an image folder through arcface_torch's own reader needs torchvision itself; install it, or make a "
            ".rec of the folder with tools/make_rec.py"
        )
