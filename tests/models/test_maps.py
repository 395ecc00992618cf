"""Intermediate maps: which they are, that recording leaves nothing behind, and how two networks' maps meet."""

import pytest
import torch
from torch import nn

from aird_plugin.models import build
from aird_plugin.models.maps import map_shapes, recorded_maps, stages_of

SHAPES = {
    "r18": ((64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)),
    "mbf": ((128, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)),
    "mfn": ((64, 56, 48), (64, 28, 24), (128, 14, 12), (512, 7, 6)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_maps_of_the_networks_that_take_112_px(name):
    assert map_shapes(build(name, 8)) == SHAPES[name]


@pytest.mark.parametrize(("name", "sides"), [("native16_0.05m", (16, 8, 4)), ("native112_0.05m", (56, 28, 14, 7, 4))])
def test_maps_of_native_students(name, sides):
    assert tuple(height for _, height, _ in map_shapes(build(name, 8))) == sides


def test_the_last_map_is_the_end_of_the_trunk():
    """Nothing else of the face reaches the embedding."""
    network = build("native16_0.05m", 8).eval()
    with recorded_maps(network) as maps:
        embeddings_BD = network(torch.randn(2, 3, 16, 16))
    torch.testing.assert_close(network.features(network.fc(maps[-1].flatten(1))), embeddings_BD)


def test_recording_changes_nothing_and_leaves_no_hook():
    torch.manual_seed(0)
    network = build("native16_0.05m", 8)
    faces_B3PP = torch.randn(4, 3, 16, 16)
    plain_BD = network.eval()(faces_B3PP)
    with pytest.raises(RuntimeError, match="on purpose"), recorded_maps(network) as maps:
        torch.testing.assert_close(network(faces_B3PP), plain_BD, rtol=0, atol=0)
        assert all(map_BCHW.requires_grad for map_BCHW in maps)
        raise RuntimeError("on purpose")
    assert not any(stage._forward_hooks for stage in stages_of(network))
    kept = maps[0]
    network(faces_B3PP)
    assert maps[0] is kept


@pytest.mark.parametrize("training", [True, False])
def test_asking_for_shapes_leaves_the_network_as_it_was(training):
    network = build("native16_0.05m", 8).train(training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    map_shapes(network)
    assert network.training is training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="Linear has no feature maps.*r18.*native"):
        stages_of(nn.Linear(2, 2))
