"""A recognition .onnx as a trainable network, and its trained weights back in the same graph.

B = images, S = side of the image, D = embedding width.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aird_plugin.models.onnx_file import load_onnx, untrainable, weights_sha256
from aird_plugin.models.onnx_first_run import first_run
from aird_plugin.models.onnx_graph import graph_module
from aird_plugin.models.onnx_shared import separate, write_tensors
from aird_plugin.models.onnx_stages import add_stages
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.onnx_values import GraphInfo
from aird_plugin.models.teacher_input import TeacherInput
from aird_plugin.utils.files import write_atomically

# The file's graph, in the run folder beside model.pt.
GRAPH_FILE = "graph.onnx"
# Required cosine between the module's and onnxruntime's embedding of an image of noise.
MIN_COSINE = 0.9999


class OnnxNetwork(nn.Module):
    """The graph of a recognition .onnx as a PyTorch module: (B, 3, S, S) float32 RGB, (x - 127.5) / 127.5, to (B, D).

    The file's float weights are parameters, its BatchNormalization nodes nn.BatchNorm layers; everything else is constant. The
    graph's input is prepared as the file requires (`stated`, else by the rules). The batch size is free, also where the file's is
    one. Its state dict has one key for each weight of the file (`sources`: key -> name in the file). stage_names: the modules
    that output its feature maps, for `feature_maps.stages_of`.

    Raises what `OnnxTeacher` raises, and ValueError for an operator that is not supported or a graph whose module does not
    compute what onnxruntime computes.
    """

    network = "onnx"

    def __init__(self, path: str | Path, stated: TeacherInput | None = None):
        super().__init__()
        self.path = Path(path)
        file = OnnxTeacher(self.path, "cpu", stated)
        model = load_onnx(self.path)
        separate(model)
        self.input_size, self.dim, self.input_name = file.input_size, file.dim, file.input_name
        # The module computes in the type of its weights, whatever the file's input type.
        self.input = replace(file.input, dtype=None)
        example = file.input.apply(torch.zeros(1, 3, self.input_size, self.input_size)).numpy()
        output, unused = str(file.input.output), file.unused_inputs
        info = GraphInfo(self.path, file.input_name, output, example, file.fixed_batch, unused)
        self.graph, self.sources = graph_module(model, info)
        self.sha256 = file.sha256
        self.eval()
        check_module(self, file)
        self.stage_names = tuple(f"graph.{name}" for name in add_stages(self.graph, torch.from_numpy(example)))

    def forward(self, images_B3SS: Tensor) -> Tensor:
        """Embeddings (B, D), not normalised."""
        return self.graph(self.input.apply(images_B3SS)).flatten(1)

    def layers(self) -> list[nn.Parameter]:
        """The parameters in the order in which the graph applies them, from the image to the embedding."""
        ordered: dict[nn.Parameter, None] = {}
        for node in self.graph.graph.nodes:
            if node.op == "call_module":
                ordered.update(dict.fromkeys(self.graph.get_submodule(node.target).parameters()))
            elif node.op == "get_attr" and isinstance(tensor := getattr(self.graph, node.target), nn.Parameter):
                ordered[tensor] = None
        return list(ordered)

    def describe_input(self) -> dict[str, Any]:
        """How the graph is fed, for recipe.json and exported files. Layout and type are left out: the graph itself shows them."""
        return {key: value for key, value in self.input.describe().items() if key not in ("layout", "dtype")}

    def to_onnx(self, path: Path, metadata: dict[str, str]) -> None:
        """Write the file's graph with this network's weights: the same nodes, names, opset and metadata, plus `metadata`.

        A tensor that is stored once for several BatchNorm layers becomes one for each layer that changed it. The file is written
        atomically. Raises ValueError where the file of the graph has changed since it was opened.
        """
        if weights_sha256(self.path) != self.sha256:
            raise ValueError(f"{self.path} has changed since it was opened; its graph is needed for the export")
        model = load_onnx(self.path)
        write_tensors(model, self.tensors())
        for key, value in metadata.items():
            entry = next((entry for entry in model.metadata_props if entry.key == key), None) or model.metadata_props.add()
            entry.key, entry.value = key, value
        write_atomically(path, model.SerializeToString())

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights and BatchNorm statistics by their names in the file, after `onnx_shared.separate`."""
        state = self.graph.state_dict()
        return {name: state[key].detach().cpu().numpy() for key, name in self.sources.items()}


def check_module(network: OnnxNetwork, file: OnnxTeacher) -> None:
    """Compare the module with onnxruntime on three images of noise.

    Raises ValueError for an operation that fails, by its node in the file, and where a cosine is below `MIN_COSINE`.
    """
    noise = np.random.default_rng(0).uniform(-1, 1, (3, 3, network.input_size, network.input_size)).astype(np.float32)
    images_B3SS = torch.from_numpy(noise)
    with torch.inference_mode():
        found_BD = first_run(network.path, network.graph, network.input.apply(images_B3SS)).flatten(1).double()
        expected_BD = file.embed_inputs(images_B3SS).double()
    cosine = torch.cosine_similarity(found_BD, expected_BD).min().item() if found_BD.shape == expected_BD.shape else 0.0
    if not cosine >= MIN_COSINE:
        raise untrainable(
            network.path,
            f"as a module its embeddings {tuple(found_BD.shape)} differ from onnxruntime's {tuple(expected_BD.shape)} "
            f"(minimum cosine {cosine:.6f}, required {MIN_COSINE})",
        )
