import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aird_plugin.models.facebn import FaceBN, measure, mix_statistics


def network(seed=0):
    """Two BatchNorm2d and one BatchNorm1d with random statistics, in eval mode."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.PReLU(),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
        nn.Flatten(),
        nn.Linear(5 * 4 * 4, 6),
        nn.BatchNorm1d(6),
    )
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return net.eval()


def random_images(count=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(count, 3, 8, 8, generator=generator) + 0.4


def one_layer(mean=0.0, var=1.0):
    layer = nn.BatchNorm2d(1).eval()
    layer.running_mean.fill_(mean)
    layer.running_var.fill_(var)
    return layer


def one_channel(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_equation_9_by_hand():
    # Batch 0 and 4: mean 2, biased variance 4; training mean 0.5 and variance 1, so D^2 = 2.25 and, with
    # keep 0.1, mean = 0.05 + 1.8 = 1.85 and variance = 0.1 + 0.9 * (4 + 0.15^2) = 3.72025. Around the batch
    # mean it would be 3.7.
    mean, var = mix_statistics(*torch.tensor([[0.5], [1.0]]), *torch.tensor([[2.0], [4.0]]), 0.1)
    assert mean.item() == pytest.approx(1.85) and var.item() == pytest.approx(3.72025)


def test_forward_normalises_with_mixed_statistics():
    layer, batch = one_layer(mean=0.5), one_channel(0.0, 4.0)
    layer.eps = 0.0
    with FaceBN(layer, keep=0.1):
        out = layer(batch).flatten()
    assert out.tolist() == pytest.approx([-1.85 / 3.72025**0.5, 2.15 / 3.72025**0.5])


def test_measure_equals_a_loop_over_images_and_positions():
    batch = random_images(3)
    mean, var, count = measure(batch)
    for channel in range(3):
        values = [batch[b, channel, h, w].item() for b in range(3) for h in range(8) for w in range(8)]
        center = sum(values) / len(values)
        assert count == len(values)
        assert mean[channel].item() == pytest.approx(center, abs=1e-6)
        spread = sum((v - center) ** 2 for v in values) / len(values)
        assert var[channel].item() == pytest.approx(spread, rel=1e-5)


@pytest.mark.parametrize("mode", ["stateless", "stream"])
def test_keep_1_is_the_frozen_network_to_the_bit(mode):
    net, batch = network(), random_images()
    with FaceBN(net, keep=1, mode=mode, include_bn1d=True):
        assert torch.equal(net(batch), network()(batch))


def test_keep_0_is_pure_batch_statistics():
    net, batch = network(), random_images()
    with FaceBN(net, keep=0, include_bn1d=True):
        adapted = net(batch)
    torch.testing.assert_close(adapted, copy.deepcopy(net).train()(batch))


def test_batchnorm1d_is_adapted_only_with_include_bn1d():
    net, batch = network(), random_images()
    inner = []
    net[6].register_forward_hook(lambda module, inputs, output: inner.append(output))
    with FaceBN(net, keep=0.1):
        out = net(batch)
    bn = net[7]
    assert torch.equal(out, F.batch_norm(inner[0], bn.running_mean, bn.running_var, bn.weight, bn.bias))
    with FaceBN(net, keep=0.1, include_bn1d=True):
        assert not torch.allclose(net(batch), out)


def test_stateless_is_independent_of_image_order_and_previous_batches():
    net, batch = network(), random_images()
    shuffled = torch.tensor([3, 0, 5, 1, 4, 2])
    with FaceBN(net, keep=0.1):
        first = net(batch)
        net(random_images(seed=2))
        torch.testing.assert_close(net(batch[shuffled]), first[shuffled], rtol=1e-5, atol=1e-5)
        assert torch.equal(net(batch), first)


def test_stream_carries_statistics_from_batch_to_batch():
    layer = one_layer()
    with FaceBN(layer, keep=0.5, mode="stream"):
        layer(one_channel(1.0, 3.0))  # mean 0 -> 1, variance 1 -> 0.5 + 0.5 * (1 + 1)
        assert (layer.running_mean.item(), layer.running_var.item()) == (1.0, 1.5)
        layer(one_channel(4.0, 6.0))  # mean 1 -> 3, variance 1.5 -> 0.75 + 0.5 * (1 + 4)
        assert (layer.running_mean.item(), layer.running_var.item()) == (3.0, 3.25)
    net, batch = network(), random_images()
    with FaceBN(net, keep=0.1, mode="stream"):
        before = net(batch)
        net(random_images(seed=2))
        assert not torch.allclose(net(batch), before)


def test_full_pools_batches_of_any_size_exactly():
    values = random_images(7)
    for cuts in ([7], [2, 5], [1, 1, 5], [4, 2, 1]):
        layer = nn.BatchNorm2d(3).eval()
        with FaceBN(layer, keep=0.1, mode="full") as bn:
            bn.adapt(values.split(cuts))
            mean, var, _ = measure(values)
            torch.testing.assert_close(layer.running_mean, 0.9 * mean)
            torch.testing.assert_close(layer.running_var, 0.1 + 0.9 * (var + 0.01 * mean**2))


def test_full_over_one_batch_is_stateless_to_the_bit():
    net, batch = network(), random_images()
    with FaceBN(net, keep=0.3):
        stateless = net(batch)
    with FaceBN(net, keep=0.3, mode="full") as bn:
        bn.adapt([batch])
        assert torch.equal(net(batch), stateless)


def test_full_is_fixed_after_adapt_and_can_be_repeated():
    net, batch = network(), random_images()
    with FaceBN(net, keep=0.1, mode="full") as bn:
        bn.adapt([random_images(seed=3), random_images(seed=4)])
        alone = net(batch[:1])
        torch.testing.assert_close(net(batch)[:1], alone)
        once = net(batch)
        bn.adapt([random_images(seed=3), random_images(seed=4)])
        assert torch.equal(net(batch), once)


@pytest.mark.parametrize("mode", ["stateless", "stream", "full"])
def test_model_is_restored_after_an_exception(mode):
    net = network()
    state, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    with pytest.raises(ZeroDivisionError), FaceBN(net, keep=0.1, mode=mode) as bn:
        if mode == "full":
            bn.adapt([random_images()])
        net(random_images())
        assert [m.training for m in net.modules()] == modes
        raise ZeroDivisionError
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any("forward" in vars(module) for module in net.modules())
    assert torch.equal(net(random_images()), network()(random_images()))


def test_training_flags_are_neither_read_nor_changed():
    net, batch = network(), random_images()
    with FaceBN(net, keep=0.1, include_bn1d=True):
        adapted = net(batch)
    net.train()
    with FaceBN(net, keep=0.1, include_bn1d=True):
        assert torch.equal(net(batch), adapted) and net.training
    assert net[1].num_batches_tracked == 0


def test_channels_last_gives_the_same_embeddings():
    net, batch = network(), random_images()
    with FaceBN(net, keep=0.1):
        expected = net(batch)
        torch.testing.assert_close(net(batch.contiguous(memory_format=torch.channels_last)), expected)


def test_single_value_per_channel_is_rejected():
    layer = one_layer()
    with pytest.raises(ValueError, match="one value per channel"), FaceBN(layer):
        layer(one_channel(1.0))
    net = network()
    with FaceBN(net):
        net(random_images(1))  # one image has many positions
    with pytest.raises(ValueError, match="one value per channel"), FaceBN(net, include_bn1d=True):
        net(random_images(1))


def test_network_without_batchnorm_is_rejected():
    with pytest.raises(ValueError, match="Linear has no BatchNorm layer"):
        FaceBN(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="include_bn1d=True"):
        FaceBN(nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match="track_running_stats"):
        FaceBN(nn.BatchNorm2d(2, track_running_stats=False))


@pytest.mark.parametrize(
    "options, message", [({"keep": 1.1}, "0 to 1"), ({"keep": -0.1}, "0 to 1"), ({"mode": "x"}, "stateless")]
)
def test_options_out_of_range_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        FaceBN(network(), **options)


def test_full_requires_adapt():
    net = network()
    bn = FaceBN(net, mode="full")
    with pytest.raises(ValueError, match="inside the context"):
        bn.adapt([random_images()])
    with bn, pytest.raises(ValueError, match="call adapt"):
        net(random_images())
    with bn, pytest.raises(ValueError, match="no batch"):
        bn.adapt([])
    with FaceBN(net) as stateless, pytest.raises(ValueError, match="needs mode 'full'"):
        stateless.adapt([random_images()])


def test_nested_facebn_is_rejected():
    net = network()
    with FaceBN(net), pytest.raises(ValueError, match="another FaceBN active"), FaceBN(net):
        pass
    assert torch.equal(net(random_images()), network()(random_images()))
