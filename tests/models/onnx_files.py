"""Recognition .onnx files with random weights, as several exporters write them."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aird_plugin.models import build, ir, iresnet, mobilefacenet
from aird_plugin.models.mobilefacenet import conv_bn_prelu
from tests.exact import rounding

SIDE, DIM = 112, 16
# In the place of 64, 128, 256 and 512: the same layers in a hundredth of the time.
NARROW = (16, 16, 32, 32)


# The longest sum of these networks, over 512 x 7 x 7 values of size up to about 4.
TOLERANCE = rounding(25_088) * 4


def random_images(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Attention(nn.Module):
    """A small network with the operators of EdgeFace: LayerNorm, transposed attention, GELU, position encodings, layer scale."""

    input_size = SIDE

    def __init__(self, width: int = 8, dim: int = DIM):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, 8)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.position = nn.Conv2d(width, width, 1)
        self.qkv = nn.Linear(width, 3 * width)
        self.temperature = nn.Parameter(torch.rand(2, 1, 1) + 0.5)
        self.scale = nn.Parameter(torch.rand(width))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.head = nn.Linear(width, dim)

    def forward(self, x_B3SS: Tensor) -> Tensor:
        x_BCHW = self.stem(x_B3SS)
        batch, width, side, _ = x_BCHW.shape
        rows = torch.ones(batch, side, side, dtype=x_BCHW.dtype).cumsum(1) / (side + 1e-6)
        steps = 10.0 ** torch.arange(width, dtype=x_BCHW.dtype)
        waves = (rows[..., None] / steps).sin().permute(0, 3, 1, 2)
        x_BCHW = x_BCHW + self.position(waves)
        x_BNC = self.norm(x_BCHW.flatten(2).transpose(1, 2))
        q, k, v = self.qkv(x_BNC).reshape(batch, side * side, 3, 2, width // 2).permute(2, 0, 3, 4, 1)
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.temperature).softmax(-1)
        x_BNC = x_BNC + (weights @ v).permute(0, 3, 1, 2).reshape(batch, side * side, width)
        x_BNC = x_BNC + self.scale * self.mlp(x_BNC)
        return self.head(x_BNC.transpose(1, 2).reshape(batch, width, side, side).mean((2, 3)))


class SFace(nn.Module):
    """OpenCV Zoo's face_recognition_sface: depthwise-separable convolutions, then BN-Dropout-Linear-BN; widths divided by 8."""

    input_size = SIDE
    # (width, stride of the depthwise convolution)
    BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))

    def __init__(self, dim: int = DIM, divisor: int = 8):
        super().__init__()
        width_in = 32 // divisor
        layers = conv_bn_prelu(3, width_in, 3, 1, 1)
        for width, stride in ((width // divisor, stride) for width, stride in self.BLOCKS):
            layers += [*conv_bn_prelu(width_in, width_in, 3, stride, 1, groups=width_in), *conv_bn_prelu(width_in, width)]
            width_in = width
        end = [nn.BatchNorm2d(width_in), nn.Dropout(0.4), nn.Flatten(), nn.Linear(width_in * 7 * 7, dim), nn.BatchNorm1d(dim)]
        self.layers = nn.Sequential(*layers, *end)

    def forward(self, x_B3SS: Tensor) -> Tensor:
        return self.layers(x_B3SS)


def short_mbf() -> nn.Module:
    """`mbf` with one residual bottleneck in the place of 4, 6 and 2."""
    net = build("mbf", DIM)
    for stage in (3, 5, 7):
        net.layers[stage].layers = net.layers[stage].layers[:1]
    return net


# Recognisers as their authors define them, small enough for a test.
STAND_INS: dict[str, Callable[[], nn.Module]] = {
    "attention": Attention,
    "r18": lambda: build("r18", DIM),
    "adaface_ir18": lambda: build("adaface_ir18", DIM),
    "ir_se": lambda: ir.IRNet((2, 1, 1, 1), ir.IR_SE, DIM),
    "mbf": short_mbf,
    "mfn": lambda: build("mfn", DIM),
    "sface": SFace,
}


def network(name: str, seed: int = 0) -> nn.Module:
    """A stand-in, or a network of the registry, whose BatchNorm statistics are no longer the initial ones; in eval mode."""
    torch.manual_seed(seed)
    once = tuple((expansion, width, 1, stride) for expansion, width, _, stride in mobilefacenet.MobileFaceNet.BOTTLENECKS)
    with (
        patch.object(ir, "WIDTHS", NARROW),
        patch.object(iresnet, "WIDTHS", NARROW),
        patch.object(mobilefacenet.MobileFaceNet, "BOTTLENECKS", once),
    ):
        net = STAND_INS[name]() if name in STAND_INS else build(name, DIM)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
                if layer.affine:
                    layer.weight.uniform_(0.5, 1.5)
                    layer.bias.normal_(0, 0.1)
            # By their own initialisation many small or depthwise layers lose the image, and all embeddings are the same.
            if isinstance(layer, nn.Conv2d) and name in STAND_INS:
                nn.init.kaiming_normal_(layer.weight)
            # The exporter writes equal tensors once.
            if isinstance(layer, nn.PReLU):
                layer.weight.uniform_(0.1, 0.4)
    return net.eval()


def write_network(path: Path, net: nn.Module, opset: int = 17, fold: bool = True, batch: int | None = None) -> Path:
    """Export a network. fold: BatchNorms into convolutions, as the exporter does by default. batch: the only batch size."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(batch or 2, 3, SIDE, SIDE),),
            file,
            input_names=["input.1"],
            output_names=["features"],
            opset_version=opset,
            dynamo=False,
            do_constant_folding=fold,
            training=torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE,
            dynamic_axes=None if batch else {"input.1": {0: "N"}, "features": {0: "N"}},
        )
    path.write_bytes(file.getvalue())
    return path
