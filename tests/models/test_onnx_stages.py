"""Feature maps of a translated ONNX graph: where they are found, and that the module stays the same."""

import pytest
import torch
from torch import fx, nn

from aird_plugin.models.feature_maps import map_shapes, recorded_maps
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.onnx_stages import add_stages, bottlenecks
from tests.models.onnx_files import network, write_network


class Residual(nn.Module):
    """One residual block: every path goes through `first` and the sum, not through `second`."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, images):
        x = self.first(images)
        return (x + self.second(x)).mean((2, 3)).view(images.size(0), -1)


def test_bottlenecks_of_a_residual_block():
    graph = fx.symbolic_trace(Residual()).graph
    features = {node for node in graph.nodes if node.op not in ("output", "get_attr") and node.name != "size"}
    assert [node.name for node in bottlenecks(graph, features)] == ["images", "first", "add", "mean", "view"]


@pytest.mark.parametrize("fold", [True, False])
def test_stages_have_the_registered_sides(tmp_path, fold):
    """The widened map before each downsampling is the last one of its side, so the channels are others."""
    net = network("mbf")
    graph = OnnxNetwork(write_network(tmp_path / "a.onnx", net, fold=fold))
    assert [shape[1:] for shape in map_shapes(graph)] == [shape[1:] for shape in map_shapes(net)]


@pytest.mark.parametrize(("name", "sides"), [("sface", [56, 28, 14, 7]), ("attention", [14])])
def test_stages_of_other_graphs(tmp_path, name, sides):
    graph = OnnxNetwork(write_network(tmp_path / "a.onnx", network(name)))
    assert [shape[1:] for shape in map_shapes(graph)] == [(side, side) for side in sides]


@pytest.mark.parametrize("fold", [True, False])
def test_stages_of_a_residual_network_are_the_registered_ones(tmp_path, fold):
    """Behind the last stage iresnet has a BatchNorm of the same side, which is the graph's last map."""
    net = network("r18")
    graph = OnnxNetwork(write_network(tmp_path / "a.onnx", net, fold=fold))
    images_B3HW = torch.randn(2, 3, 112, 112)
    with torch.no_grad(), recorded_maps(graph) as maps, recorded_maps(net) as expected:
        graph(images_B3HW), net(images_B3HW)
        last_BCHW = net.bn2(expected[-1])
    assert len(maps) == 4
    for one, other in zip(maps, [*expected[:-1], last_BCHW], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * other.abs().max().item())


def test_stages_change_nothing_else(tmp_path):
    graph = OnnxNetwork(write_network(tmp_path / "a.onnx", network("mbf"))).graph
    images_B3HW = torch.randn(2, 3, 112, 112)
    for name in ("stage1", "stage2", "stage3", "stage4"):
        for node in graph.graph.find_nodes(op="call_module", target=name):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()
    keys, parameters = list(graph.state_dict()), [name for name, _ in graph.named_parameters()]
    with torch.no_grad():
        before_BD = graph(images_B3HW)
        assert add_stages(graph, images_B3HW[:1]) == ("stage1", "stage2", "stage3", "stage4")
        assert torch.equal(graph(images_B3HW), before_BD)
    assert list(graph.state_dict()) == keys and [name for name, _ in graph.named_parameters()] == parameters


def test_a_graph_without_maps_has_no_stage():
    """A linear layer on the image; a convolution whose only output is one value a channel."""
    linear = fx.symbolic_trace(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4)))
    assert add_stages(linear, torch.zeros(1, 3, 8, 8)) == ()
