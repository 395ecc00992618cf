"""mbf: the state-dict keys of arcface_torch. mfn: the published layout and its input conversion."""

import pytest
import torch

from aird_plugin.models import build
from aird_plugin.models.from_weights import load_network


def norm_shapes(prefix: str, width: int) -> dict:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{prefix}.{name}": (width,) for name in names} | {f"{prefix}.num_batches_tracked": ()}


def unit_shapes(prefix: str, conv: tuple, prelu: bool = True) -> dict:
    shapes = {f"{prefix}.layers.0.weight": conv} | norm_shapes(f"{prefix}.layers.1", conv[0])
    return shapes | ({f"{prefix}.layers.2.weight": (conv[0],)} if prelu else {})


def bottleneck_shapes(prefix: str, width_in: int, width: int, expanded: int) -> dict:
    return (
        unit_shapes(f"{prefix}.layers.0", (expanded, width_in, 1, 1))
        | unit_shapes(f"{prefix}.layers.1", (expanded, 1, 3, 3))
        | unit_shapes(f"{prefix}.layers.2", (width, expanded, 1, 1), prelu=False)
    )


def upstream_mbf_shapes() -> dict:
    shapes = unit_shapes("layers.0", (128, 3, 3, 3)) | unit_shapes("layers.1", (128, 2, 3, 3))
    for index, sizes in {2: (128, 128, 128), 4: (128, 256, 256), 6: (256, 256, 512)}.items():
        shapes |= bottleneck_shapes(f"layers.{index}", *sizes)
    for index, width, count in ((3, 128, 4), (5, 256, 6), (7, 256, 2)):
        for block in range(count):
            shapes |= bottleneck_shapes(f"layers.{index}.layers.{block}", width, width, width)
    shapes |= unit_shapes("conv_sep", (512, 256, 1, 1))
    shapes |= unit_shapes("features.layers.0", (512, 1, 7, 7), prelu=False)
    return shapes | {"features.layers.2.weight": (512, 512)} | norm_shapes("features.layers.3", 512)


def test_mbf_state_dict_equals_arcface_torch():
    net = build("mbf")
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == upstream_mbf_shapes()
    assert len(net.state_dict()) == 333
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(2.06, abs=0.005)


def test_mbf_is_residual_where_the_stride_is_one():
    net = build("mbf", 8)
    assert [net.layers[i].residual for i in (2, 4, 6)] == [False, False, False]
    assert all(block.residual for i in (3, 5, 7) for block in net.layers[i].layers)


@pytest.mark.parametrize("name", ["mbf", "mfn"])
def test_forward_and_backward(name):
    net = build(name, 16)
    assert net.input_size == 112
    embeddings_BD = net(torch.randn(3, 3, 112, 112))
    embeddings_BD[:, 0].square().sum().backward()
    assert embeddings_BD.shape == (3, 16)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_mfn_has_the_published_size():
    net = build("mfn", 128)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(1.0, abs=0.01)
    strides = [block.conv[3].stride[0] for block in net.blocks]
    assert strides == [2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1]
    assert [block.residual for block in net.blocks] == [stride == 1 for stride in strides]


def test_mfn_crops_to_96_columns_and_rescales():
    net = build("mfn", 8).eval()
    inputs = []
    net.conv1.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    grey_levels = torch.randint(0, 256, (1, 3, 112, 112)).float()
    with torch.no_grad():
        net((grey_levels - 127.5) / 127.5)
    torch.testing.assert_close(inputs[0], (grey_levels[..., 8:-8] - 127.5) / 128, rtol=0, atol=1e-6)


def test_mfn_loads_published_weights_strictly(aird_data):
    net = load_network(aird_data / "teacher" / "mobilefacenet_casia.pt", "mfn")
    assert net(torch.zeros(2, 3, 112, 112)).shape == (2, 128)
    assert not net.training
