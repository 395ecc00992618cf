"""Native students: sides, sizes, and that they learn."""

import pytest
import torch
from torch import nn

from aird_plugin.models import build
from aird_plugin.models.native import count_parameters, parse_name, plan_stages, plan_widths


@pytest.mark.parametrize("dim", [128, 512])
@pytest.mark.parametrize(
    "name", ["native16_1m", "native16_0.2m", "native32_0.2m", "native32_1m", "native112_0.5m", "native64_5m"]
)
def test_size_is_within_five_per_cent(name, dim):
    with torch.device("meta"):
        net = build(name, dim)
    px, millions = parse_name(name)
    count = sum(p.numel() for p in net.parameters())
    assert net.input_size == px
    assert abs(count - millions * 1e6) <= 0.05 * millions * 1e6
    assert count == count_parameters(px, plan_widths(px, millions, dim), dim)


@pytest.mark.parametrize("px", [8, 9, 12, 14, 16, 20, 23, 24, 32, 33, 48, 64, 100, 112])
def test_map_ends_about_four_wide_and_embeds(px):
    net = build(f"native{px}_0.3m", 16)
    maps_BCHW = net.stages(torch.randn(2, 3, px, px))
    assert maps_BCHW.shape[2:] == (plan_stages(px)[1],) * 2
    assert 3 <= maps_BCHW.shape[2] <= 6
    assert net(torch.randn(2, 3, px, px)).shape == (2, 16)


def test_stages_of_known_sides():
    assert plan_stages(16) == ([(1, 1), (2, 1), (2, 2)], 4)
    assert plan_stages(112) == ([(2, 0), (2, 1), (2, 1), (2, 1), (2, 2)], 4)


def test_convolutions_are_plain_and_each_has_its_batchnorm():
    net = build("native16_1m", 128)
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(conv.kernel_size, conv.groups) for conv in convs} == {((3, 3), 1)}
    assert [conv.out_channels for conv in convs] == [norm.num_features for norm in norms]


def test_gradient_reaches_every_trainable_parameter():
    torch.manual_seed(0)
    net = build("native16_0.2m", 32)
    (net(torch.randn(4, 3, 16, 16)) * torch.randn(4, 32)).sum().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # The linear layer's bias cannot matter ahead of BatchNorm1d's centring.
    assert set(still) <= {"features.weight", "fc.bias"}
    assert not net.features.weight.requires_grad


def test_channels_last_changes_nothing():
    net = build("native16_0.2m", 32).eval()
    inputs = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        contiguous = net(inputs)
        last = net.to(memory_format=torch.channels_last)(inputs.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(contiguous, last, rtol=1e-4, atol=1e-5)


def test_learns_to_tell_faces_apart():
    torch.manual_seed(0)
    net, target_BD = build("native8_0.05m", 16), nn.functional.normalize(torch.randn(32, 16))
    inputs = torch.randn(32, 3, 8, 8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        loss = (1 - nn.functional.cosine_similarity(net(inputs), target_BD)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("native16", r"native\{px\}_\{millions\}m"),
        ("native16-1m", "native16_1m"),
        ("native7_1m", "8 to 112"),
        ("native113_1m", "8 to 112"),
        ("native16_0.001m", "0.02 to 100"),
        ("native16_0.02m", "the nearest has"),
    ],
)
def test_bad_names_say_what_is_allowed(name, says):
    with pytest.raises(ValueError, match=says):
        build(name, 2048)
