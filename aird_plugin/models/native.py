"""Native students: networks with px x px input, 3x3 convolutions (plain or depthwise-separable) and a given parameter count."""

from torch import Tensor, nn

from aird_plugin.models.native_plan import Spec, plan_stages, plan_widths


def activation(width: int, prelu: bool) -> nn.Module:
    """ReLU, or PReLU with one slope per channel."""
    return nn.PReLU(width) if prelu else nn.ReLU()


def conv3x3_bn(width_in: int, width: int, spec: Spec, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution without bias and its BatchNorm; separable ones as MobileNet's depthwise and pointwise pair, each with
    BatchNorm (arXiv 1704.04861). The convolution over the three RGB channels is never separable."""
    if spec.separable and width_in != 3:
        return [
            nn.Conv2d(width_in, width_in, 3, stride, padding=1, groups=width_in, bias=False),
            nn.BatchNorm2d(width_in),
            activation(width_in, spec.prelu),
            nn.Conv2d(width_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
        ]
    return [nn.Conv2d(width_in, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width)]


def global_depthwise(width: int, side: int) -> nn.Module:
    """(B, width, side, side) -> (B, width, 1, 1): each channel's own weighted sum over the positions, and BatchNorm
    (MobileFaceNet, arXiv 1804.07573, section 3.2)."""
    return nn.Sequential(nn.Conv2d(width, width, side, groups=width, bias=False), nn.BatchNorm2d(width))


class Block(nn.Module):
    """act(x + conv-BN-act-conv-BN(x)), with the same width and side."""

    def __init__(self, width: int, spec: Spec):
        super().__init__()
        self.first = nn.Sequential(*conv3x3_bn(width, width, spec))
        self.middle = activation(width, spec.prelu)
        self.second = nn.Sequential(*conv3x3_bn(width, width, spec))
        self.last = activation(width, spec.prelu)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.last(x_BCHW + self.second(self.middle(self.first(x_BCHW))))


class Native(nn.Module):
    """(B, 3, px, px) -> (B, embedding_size), with about `spec.millions` million parameters.

    A stage is a 3x3 convolution, strided where the side is halved, followed by residual blocks. The output layers are ArcFace's
    option E: flatten the last 4x4 map, one linear layer, BatchNorm1d with its gain frozen at 1; so the position of a feature
    is kept. With `spec.gdc` a global depthwise convolution comes first, so that a wide embedding leaves the parameters to the
    stages. He initialisation by fan-out for plain convolutions and by fan-in for depthwise ones (PyTorch computes their fan-out
    over all channels), BatchNorm at 1 and 0, the linear layer by PyTorch's default.
    """

    def __init__(self, spec: Spec, embedding_size: int = 512):
        super().__init__()
        widths = plan_widths(spec, embedding_size)
        plan, last_side = plan_stages(spec.px)
        stages, width_in = [], 3
        for (stride, blocks), width in zip(plan, widths, strict=True):
            entry = nn.Sequential(*conv3x3_bn(width_in, width, spec, stride), activation(width, spec.prelu))
            stages.append(nn.Sequential(entry, *[Block(width, spec) for _ in range(blocks)]))
            width_in = width
        self.stages = nn.Sequential(*stages)
        self.pool = global_depthwise(width_in, last_side) if spec.gdc else nn.Identity()
        self.fc = nn.Linear(width_in * (1 if spec.gdc else last_side**2), embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        self.features.weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out" if module.groups == 1 else "fan_in", nonlinearity="relu")

    def forward(self, x_B3PP: Tensor) -> Tensor:
        return self.features(self.fc(self.pool(self.stages(x_B3PP)).flatten(1)))
