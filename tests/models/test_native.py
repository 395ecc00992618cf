"""Native students: names, sides, parameter counts, layers, and convergence on a small task."""

import pytest
import torch
from torch import nn

from aird_plugin.models import build
from aird_plugin.models.fold import fold_batchnorms
from aird_plugin.models.from_weights import load_network
from aird_plugin.models.native_plan import Spec, count_parameters, parse_name, plan_stages, plan_widths

VARIANTS = ["", "_dw", "_prelu", "_dw_prelu", "_gdc", "_dw_gdc"]


@pytest.mark.parametrize("dim", [128, 512])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "name", ["native16_0.2m", "native16_1m", "native16_12m", "native32_0.2m", "native32_12m", "native112_0.5m", "native64_5m"]
)
def test_parameter_count_is_within_five_per_cent(name, variant, dim):
    with torch.device("meta"):
        net = build(name + variant, dim)
    spec = parse_name(name + variant)
    count = sum(p.numel() for p in net.parameters())
    assert net.input_size == spec.px
    assert abs(count - spec.millions * 1e6) <= 0.05 * spec.millions * 1e6
    assert count == count_parameters(spec, plan_widths(spec, dim), dim)


def test_name_sets_convolutions_and_activation():
    assert parse_name("native16_1m") == Spec(16, 1.0)
    assert parse_name("native32_0.21m_dw") == Spec(32, 0.21, separable=True)
    assert parse_name("native16_12m_prelu") == Spec(16, 12.0, prelu=True)
    assert parse_name("native16_1m_dw_prelu") == Spec(16, 1.0, True, True)
    assert parse_name("native16_1m_gdc") == Spec(16, 1.0, gdc=True)
    assert parse_name("native16_1m_dw_prelu_gdc") == Spec(16, 1.0, True, True, True)


def test_plain_network_keeps_its_layers_and_keys():
    """Weights saved before the variants existed still load."""
    net = build("native16_1m", 128)
    assert plan_widths(Spec(16, 1.0), 128) == [32, 64, 128]
    assert not any(isinstance(module, nn.PReLU) for module in net.modules())
    keys = {name for name, _ in net.named_parameters()}
    entries = {f"stages.{stage}.0.{layer}" for stage in range(3) for layer in (0, 1)}
    blocks = {
        f"stages.{block}.{half}.{layer}"
        for block in ("0.1", "1.1", "2.1", "2.2")
        for half in ("first", "second")
        for layer in (0, 1)
    }
    assert {name.rsplit(".", 1)[0] for name in keys} == entries | blocks | {"fc", "features"}
    assert sum(p.numel() for p in net.parameters()) == 1_039_392


def test_depthwise_convolutions_use_he_by_fan_in():
    """Each output has nine inputs; with PyTorch's fan-out the initial weights would be close to zero."""
    torch.manual_seed(0)
    convs = [module for module in build("native16_1m_dw", 128).modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    for conv in convs:
        assert conv.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.15)
    assert convs


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_has_the_layers_of_its_name(variant):
    net = build(f"native16_0.3m{variant}", 32)
    convs = [module for module in net.stages.modules() if isinstance(module, nn.Conv2d)]
    kinds = {(conv.kernel_size, conv.groups == conv.in_channels) for conv in convs[1:]}
    assert (convs[0].kernel_size, convs[0].groups) == ((3, 3), 1)
    assert kinds == ({((3, 3), True), ((1, 1), False)} if "dw" in variant else {((3, 3), False)})
    slopes = [module.num_parameters for module in net.modules() if isinstance(module, nn.PReLU)]
    assert (not slopes) if "prelu" not in variant else min(slopes) >= 3
    # One activation per convolution; the one after the residual sum counts for the convolution before it.
    assert sum(isinstance(module, nn.PReLU | nn.ReLU) for module in net.modules()) == len(convs)


def test_global_depthwise_convolution_weights_each_channel_over_its_positions():
    """By hand: a map that is 1 at one position of one channel becomes that position's weight."""
    net = build("native16_1m_gdc", 512).eval()
    conv, _ = net.pool
    width = conv.in_channels
    maps_BCHW = torch.zeros(1, width, 4, 4)
    maps_BCHW[0, 5, 2, 3] = 1.0
    pooled_BC = conv(maps_BCHW).flatten(1)
    assert pooled_BC[0, 5].item() == conv.weight[5, 0, 2, 3].item()
    assert pooled_BC.count_nonzero() == 1
    assert net.fc.in_features == width


def test_global_depthwise_convolution_leaves_wide_embeddings_to_the_stages():
    """Of 1 M parameters the flat linear layer takes two thirds at 512 dimensions."""
    flat, pooled = plan_widths(Spec(16, 1.0), 512), plan_widths(Spec(16, 1.0, gdc=True), 512)
    assert flat == [16, 48, 80]
    assert pooled == [32, 64, 144]


@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_loads_and_folds(variant, tmp_path):
    name = f"native16_0.1m{variant}"
    net = build(name, 16)
    inputs = torch.randn(8, 3, 16, 16)
    net(inputs)
    torch.save(net.state_dict(), tmp_path / "model.pt")
    loaded = load_network(tmp_path / "model.pt", name)
    folded = fold_batchnorms(loaded)
    with torch.no_grad():
        expected = net.eval()(inputs)
        torch.testing.assert_close(loaded(inputs), expected)
        torch.testing.assert_close(folded(inputs), expected, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    other = next(v for v in VARIANTS if v != variant)
    with pytest.raises(ValueError, match=f"does not fit native16_0.1m{other}"):
        load_network(tmp_path / "model.pt", f"native16_0.1m{other}")


@pytest.mark.parametrize("px", [8, 9, 12, 14, 16, 20, 23, 24, 32, 33, 48, 64, 100, 112])
def test_last_map_side_is_about_four(px):
    net = build(f"native{px}_0.3m", 16)
    maps_BCHW = net.stages(torch.randn(2, 3, px, px))
    assert maps_BCHW.shape[2:] == (plan_stages(px)[1],) * 2
    assert 3 <= maps_BCHW.shape[2] <= 6
    assert net(torch.randn(2, 3, px, px)).shape == (2, 16)


def test_plan_stages_of_known_sides():
    assert plan_stages(16) == ([(1, 1), (2, 1), (2, 2)], 4)
    assert plan_stages(112) == ([(2, 0), (2, 1), (2, 1), (2, 1), (2, 2)], 4)


def test_plain_convolutions_each_have_a_batchnorm():
    net = build("native16_1m", 128)
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(conv.kernel_size, conv.groups) for conv in convs} == {((3, 3), 1)}
    assert [conv.out_channels for conv in convs] == [norm.num_features for norm in norms]


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_reaches_every_trainable_parameter(variant):
    torch.manual_seed(0)
    net = build(f"native16_0.2m{variant}", 32)
    (net(torch.randn(4, 3, 16, 16)) * torch.randn(4, 32)).sum().backward()
    without_gradient = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # BatchNorm1d subtracts the mean, so the bias of the linear layer before it has no effect.
    assert set(without_gradient) <= {"features.weight", "fc.bias"}
    assert not net.features.weight.requires_grad


def test_channels_last_gives_the_same_embeddings():
    net = build("native16_0.2m", 32).eval()
    inputs = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        contiguous = net(inputs)
        last = net.to(memory_format=torch.channels_last)(inputs.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(contiguous, last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_student_fits_random_embeddings(variant):
    torch.manual_seed(0)
    net, target_BD = build(f"native8_0.05m{variant}", 16), nn.functional.normalize(torch.randn(32, 16))
    inputs = torch.randn(32, 3, 8, 8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        loss = (1 - nn.functional.cosine_similarity(net(inputs), target_BD)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("native16", r"native\{px\}_\{millions\}m"),
        ("native16-1m", "native16_1m"),
        ("native16_1m_prelu_dw", "_dw, _prelu and _gdc"),
        ("native16_1m_gelu", "_dw, _prelu and _gdc"),
        ("native7_1m", "8 to 112"),
        ("native113_1m", "8 to 112"),
        ("native16_0.001m", "0.02 to 100"),
        ("native16_0.02m", "the nearest has"),
    ],
)
def test_invalid_name_error_lists_what_is_allowed(name, message):
    with pytest.raises(ValueError, match=message):
        build(name, 2048)
