"""The feature maps of a translated ONNX graph: the last value of each size that the rest of the graph is computed from.

B = images, C = channels, H, W = sides of a map.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from aird_plugin.models.onnx_first_run import ORIGIN


def add_stages(module: fx.GraphModule, inputs_B: Tensor) -> tuple[str, ...]:
    """Put an nn.Identity behind the last map of each size. Returns their names, shallow to deep.

    A map is a (B, C, H, W) below the size of the image and above one value that every path from the image to the output goes
    through: in a residual network the sum that ends a block. A graph without such a map gets no stage. What the module computes,
    its parameters and its state dict stay as they are.
    inputs_B: a batch of prepared images for one forward pass.
    """
    run = _RecordedRun(module)
    run.shapes = {}
    with torch.inference_mode():
        run.run(inputs_B)
    # Sizes of maps with channels first, as convolutions have them: a graph may hold maps with channels last too.
    sizes = {shape[2:] for node, shape in run.shapes.items() if node.meta.get(ORIGIN, "").endswith("(Conv)")}
    last: dict[tuple[int, ...], fx.Node] = {}
    for node in bottlenecks(module.graph, set(run.shapes)):
        size = run.shapes[node][2:]
        if size in sizes and 1 < max(size) < max(inputs_B.shape[1:]):
            last[size] = node
    names = [f"stage{number}" for number, _ in enumerate(last, 1)]
    for name, node in zip(names, last.values(), strict=True):
        module.add_submodule(name, nn.Identity())
        with module.graph.inserting_after(node):
            stage = module.graph.call_module(name, (node,))
        node.replace_all_uses_with(stage)
        stage.args = (node,)
    module.recompile()
    return tuple(names)


def bottlenecks(graph: fx.Graph, features: set[fx.Node]) -> list[fx.Node]:
    """The nodes, in order, that every path from the image to the output goes through.

    features: the nodes whose value is a tensor or several. Weights, and what is computed from the batch size alone, are on no
    path.
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    from_image: set[fx.Node] = set()
    found, farthest = [], 0
    for node in graph.nodes:
        if node not in features or not (node.op == "placeholder" or from_image.intersection(node.all_input_nodes)):
            continue
        from_image.add(node)
        # No earlier value is used behind this one, so all that follows is computed from it.
        if farthest <= position[node]:
            found.append(node)
        farthest = max([farthest, *(position[user] for user in node.users if user in features or user.op == "output")])
    return found


class _RecordedRun(fx.Interpreter):
    """Keeps the shape of every computed tensor; of several tensors none."""

    shapes: dict[fx.Node, tuple[int, ...]]

    def run_node(self, node: fx.Node) -> Any:
        """The node's value, after its shape is kept. A stored weight has none here: it lies on no path from the image."""
        value = super().run_node(node)
        if isinstance(value, Tensor) and node.op != "get_attr":
            self.shapes[node] = tuple(value.shape)
        elif isinstance(value, list | tuple) and all(isinstance(part, Tensor) for part in value):
            self.shapes[node] = ()
        return value
