"""Recognition .onnx files with random weights, as several exporters write them."""

import io
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aird_plugin.models import build

SIDE = 112


class Attention(nn.Module):
    """A small network with the operators of EdgeFace: LayerNorm, transposed attention, GELU, position encodings, layer scale."""

    input_size = SIDE

    def __init__(self, width: int = 8, dim: int = 16):
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


def network(name: str, seed: int = 0) -> nn.Module:
    """`attention`, or a network of the registry, whose BatchNorm statistics are no longer the initial ones; in eval mode."""
    torch.manual_seed(seed)
    net = Attention() if name == "attention" else build(name, 16)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.1)
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
