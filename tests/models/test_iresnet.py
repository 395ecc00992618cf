"""iresnet: state-dict keys and shapes of arcface_torch, and the arithmetic of a block."""

import pytest
import torch

from aird_plugin.models import build

DEPTHS = {"r18": (2, 2, 2, 2), "r34": (3, 4, 6, 3), "r50": (3, 4, 14, 3), "r100": (3, 13, 30, 3)}
TENSORS = {"r18": 187, "r34": 331, "r50": 475, "r100": 925}
MILLIONS = {"r18": 24.0, "r34": 34.1, "r50": 43.6, "r100": 65.2}


def norm_shapes(prefix: str, width: int) -> dict:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{name}": (width,) for name in names} | {f"{prefix}.num_batches_tracked": ()}


def upstream_shapes(name: str, embedding_size: int) -> dict:
    """Every key and shape of arcface_torch's state dict, from its published names."""
    shapes = {"conv1.weight": (64, 3, 3, 3), "prelu.weight": (64,)} | norm_shapes("bn1", 64)
    before = 64
    for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), DEPTHS[name], strict=True), start=1):
        for index in range(depth):
            key = f"layer{stage}.{index}"
            shapes |= norm_shapes(f"{key}.bn1", before) | norm_shapes(f"{key}.bn2", width)
            shapes |= norm_shapes(f"{key}.bn3", width) | {f"{key}.prelu.weight": (width,)}
            shapes[f"{key}.conv1.weight"] = (width, before, 3, 3)
            shapes[f"{key}.conv2.weight"] = (width, width, 3, 3)
            if index == 0:
                shapes[f"{key}.downsample.0.weight"] = (width, before, 1, 1)
                shapes |= norm_shapes(f"{key}.downsample.1", width)
            before = width
    shapes |= norm_shapes("bn2", 512) | norm_shapes("features", embedding_size)
    return shapes | {"fc.weight": (embedding_size, 512 * 49), "fc.bias": (embedding_size,)}


@pytest.mark.parametrize("name", DEPTHS)
def test_state_dict_equals_arcface_torch(name):
    with torch.device("meta"):
        net = build(name)
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == upstream_shapes(name, 512)
    assert len(net.state_dict()) == TENSORS[name]
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(MILLIONS[name], abs=0.05)


def test_embedding_size_changes_only_the_output_layers():
    with torch.device("meta"):
        net = build("r18", 128)
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == upstream_shapes("r18", 128)


def test_embedding_gain_is_frozen_at_one():
    net = build("r18", 8)
    assert torch.equal(net.features.weight, torch.ones(8))
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["features.weight"]


def test_second_convolution_has_the_stride():
    block = build("r18", 8).layer3[0]
    assert (block.conv1.stride, block.conv2.stride, block.downsample[0].stride) == ((1, 1), (2, 2), (2, 2))


def test_block_arithmetic_by_hand():
    block = build("r18", 8).layer1[1].eval()
    torch.nn.init.constant_(block.bn1.bias, 0.5)
    torch.nn.init.constant_(block.bn3.weight, 2.0)
    with torch.no_grad():
        x = torch.randn(1, 64, 5, 5)
        scale = (1 + block.bn1.eps) ** -0.5
        y = torch.nn.functional.conv2d(x * scale + 0.5, block.conv1.weight, padding=1) * scale
        y = torch.where(y > 0, y, 0.25 * y)
        y = torch.nn.functional.conv2d(y, block.conv2.weight, padding=1) * scale * 2.0 + x
        torch.testing.assert_close(block(x), y, rtol=1e-4, atol=1e-4)


def test_forward_and_backward():
    net = build("r18", 16)
    assert net.input_size == 112
    embeddings_BD = net(torch.randn(2, 3, 112, 112))
    embeddings_BD[:, 0].square().sum().backward()
    assert embeddings_BD.shape == (2, 16)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.requires_grad)
