"""Feature maps: their shapes per network, and that recording them leaves the network unchanged."""

import pytest
import torch
from torch import nn

from aird_plugin.models import build
from aird_plugin.models.feature_maps import map_shapes, recorded_maps, stages_of

SHAPES = {
    "r18": ((64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)),
    "mbf": ((128, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)),
    "mfn": ((64, 56, 48), (64, 28, 24), (128, 14, 12), (512, 7, 6)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_map_shapes_of_112_px_networks(name):
    assert map_shapes(build(name, 8)) == SHAPES[name]


@pytest.mark.parametrize(("name", "sides"), [("native16_0.05m", (16, 8, 4)), ("native112_0.05m", (56, 28, 14, 7, 4))])
def test_map_sides_of_native_students(name, sides):
    assert tuple(height for _, height, _ in map_shapes(build(name, 8))) == sides


def test_embedding_depends_only_on_the_last_map():
    network = build("native16_0.05m", 8).eval()
    with recorded_maps(network) as maps:
        embeddings_BD = network(torch.randn(2, 3, 16, 16))
    torch.testing.assert_close(network.features(network.fc(maps[-1].flatten(1))), embeddings_BD)


def test_recording_changes_no_output_and_leaves_no_hook():
    torch.manual_seed(0)
    network = build("native16_0.05m", 8)
    images_B3PP = torch.randn(4, 3, 16, 16)
    plain_BD = network.eval()(images_B3PP)
    with pytest.raises(RuntimeError, match="on purpose"), recorded_maps(network) as maps:
        torch.testing.assert_close(network(images_B3PP), plain_BD, rtol=0, atol=0)
        assert all(map_BCHW.requires_grad for map_BCHW in maps)
        raise RuntimeError("on purpose")
    assert not any(stage._forward_hooks for stage in stages_of(network))
    kept = maps[0]
    network(images_B3PP)
    assert maps[0] is kept


@pytest.mark.parametrize("training", [True, False])
def test_map_shapes_leaves_the_network_unchanged(training):
    network = build("native16_0.05m", 8).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    map_shapes(network)
    assert network.training is training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_network_without_stages_is_rejected():
    with pytest.raises(ValueError, match="Linear has no feature maps.*r18.*native"):
        stages_of(nn.Linear(2, 2))
