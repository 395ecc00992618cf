"""The improved ResNet of ArcFace (Deng et al., CVPR 2019, section 3.1), with the state-dict keys of arcface_torch."""

from collections.abc import Mapping

from torch import Tensor, nn

# Residual blocks per stage.
BLOCKS = {"r18": (2, 2, 2, 2), "r34": (3, 4, 6, 3), "r50": (3, 4, 14, 3), "r100": (3, 13, 30, 3)}
WIDTHS = (64, 128, 256, 512)


def blocks_in(state: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Residual blocks per stage of an iresnet's state dict; None for another network."""
    if "layer1.0.conv1.weight" not in state or "fc.weight" not in state:
        return None
    return tuple(len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")}) for stage in (1, 2, 3, 4))


class Block(nn.Module):
    """BN-conv-BN-PReLU-conv-BN plus the identity; the second convolution has the stride."""

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        residual = self.prelu(self.bn2(self.conv1(self.bn1(x_BCHW))))
        residual = self.bn3(self.conv2(residual))
        return residual + (x_BCHW if self.downsample is None else self.downsample(x_BCHW))


class IResNet(nn.Module):
    """(B, 3, 112, 112) -> (B, embedding_size).

    blocks: residual blocks per stage, see `BLOCKS`.
    Initialised as in arcface_torch: convolutions from N(0, 0.1), BatchNorm at 1 and 0, the linear layer by PyTorch's default. The
    gain of the last BatchNorm1d is frozen at 1, as there; the head sets the scale.
    """

    def __init__(self, blocks: tuple[int, int, int, int], embedding_size: int = 512):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        width_in = WIDTHS[0]
        for stage, (width, depth) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
            first = Block(width_in, width, stride=2)
            rest = [Block(width, width, stride=1) for _ in range(depth - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(first, *rest))
            width_in = width
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1])
        self.fc = nn.Linear(WIDTHS[-1] * 7 * 7, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        self.features.weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(x_B3HW)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.bn2(x).flatten(1)))
