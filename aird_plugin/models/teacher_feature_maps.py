"""Feature maps of a frozen teacher, resampled to the sides of a student's feature maps.

B = images, C = channels, H, W = sides of the teacher's map, P, Q = sides of the student's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aird_plugin.data.lowres import to_input
from aird_plugin.models.feature_maps import map_shapes, recorded_maps, stages_of
from aird_plugin.models.fold import fold_batchnorms
from aird_plugin.models.onnx_network import OnnxNetwork
from aird_plugin.models.onnx_teacher import OnnxTeacher
from aird_plugin.models.teacher import Teacher
from aird_plugin.models.teacher_input import TeacherInput


class TeacherMaps:
    """Computes one teacher map for each student map, with the same number of rows and columns.

    Each student map is paired with the teacher's smallest map that has at least as many rows (equal sides where possible). The
    teacher map is averaged over the image region that each cell of the student map covers. A native 16 px student (sides 16, 8,
    4) is paired with sides 28, 14, 7 of a 112 px teacher; iresnet is paired with iresnet stage by stage. An .onnx runs as a
    module (`OnnxNetwork`), so its maps are those of a student of the same file.
    student_channels, teacher_channels: channels of each pair.
    Raises ValueError for a teacher without feature maps (teacher_px, an ensemble, a graph that cannot run as a module), and for a
    student map larger than all teacher maps.
    """

    def __init__(self, teacher: Teacher, student: nn.Module):
        if teacher.kind not in ("pt", "onnx"):
            raise ValueError(f"this loss compares feature maps, and {without_maps(teacher)}")
        self.teacher = teacher
        net = as_module(teacher)
        # An OnnxNetwork of the teacher's file prepares the images itself.
        self.prepare = TeacherInput() if isinstance(teacher, OnnxTeacher) else teacher.input
        self.run = with_maps(net)
        student_shapes, teacher_shapes = map_shapes(student), map_shapes(net)
        self.partners = [_partner(rows, [shape[1] for shape in teacher_shapes]) for _, rows, _ in student_shapes]
        self.student_channels = tuple(channels for channels, _, _ in student_shapes)
        self.teacher_channels = tuple(teacher_shapes[partner][0] for partner in self.partners)
        source_extent, target_extent = column_extent(net), column_extent(student)
        self.weights = [
            (
                pooling_weights(rows, teacher_shapes[partner][1]).to(teacher.device),
                pooling_weights(columns, teacher_shapes[partner][2], source_extent, target_extent).to(teacher.device),
            )
            for (_, rows, columns), partner in zip(student_shapes, self.partners, strict=True)
        ]

    def __call__(self, images_BHWC: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """uint8 RGB images (B, 112, 112, 3), any B -> unnormalised embeddings (B, D) and the maps, on the teacher's device."""
        device = self.teacher.device
        embeddings, maps = [], []
        with torch.inference_mode():
            for chunk_BHWC in images_BHWC.split(self.teacher.batch):
                inputs = self.prepare.apply(to_input(chunk_BHWC.to(device))).to(memory_format=torch.channels_last)
                chunk_embeddings, chunk_maps = self.run(inputs)
                embeddings.append(chunk_embeddings)
                maps.append(self.resample(chunk_maps))
        # torch.cat outside inference mode returns ordinary tensors, which a loss may save for backward.
        return torch.cat(embeddings), tuple(torch.cat(parts) for parts in zip(*maps, strict=True))

    def resample(self, teacher_maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """All teacher maps -> one map for each student map, averaged to the student's cells."""
        return tuple(
            average_cells(teacher_maps[partner], *weights) for partner, weights in zip(self.partners, self.weights, strict=True)
        )


def as_module(teacher: Teacher) -> nn.Module:
    """The teacher as a PyTorch module in eval mode. Raises ValueError for an .onnx with an operator that is not supported."""
    if isinstance(teacher, OnnxTeacher):
        return OnnxNetwork(teacher.path, teacher.stated).to(teacher.device, memory_format=torch.channels_last)
    return teacher.net


def with_maps(net: nn.Module) -> Callable[[Tensor], tuple[Tensor, Sequence[Tensor]]]:
    """A function from a network's input to its embeddings and maps, shallow to deep; BatchNorms folded where they can be."""
    if not isinstance(net, OnnxNetwork):
        return fold_batchnorms(net, stages_of(net)).to(memory_format=torch.channels_last)

    def run(inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        with recorded_maps(net) as maps:
            return net(inputs), [map_BCHW for map_BCHW in maps if map_BCHW is not None]

    return run


def without_maps(teacher: Any) -> str:
    """The words of the error for a teacher without feature maps, and what to set instead."""
    if teacher.kind == "low-res":
        return f"teacher {teacher.path} with teacher_px={teacher.px} gives embeddings only; set teacher_px=0"
    return f"teacher {teacher.path} is an ensemble, which gives embeddings only; set teacher to one of them"


def _partner(rows: int, teacher_rows: list[int]) -> int:
    """Index of the deepest teacher map with at least `rows` rows."""
    indices = [index for index, side in enumerate(teacher_rows) if side >= rows]
    if not indices:
        raise ValueError(f"the student has a map of side {rows}, larger than the teacher's ({', '.join(map(str, teacher_rows))})")
    return indices[-1]


def column_extent(network: nn.Module) -> tuple[float, float]:
    """First and last column that a network uses, as fractions of the image width; (0, 1) except for one that crops.

    `mfn` states its crop. That of an .onnx is inside its graph: its columns are those that its embedding has a gradient by.
    """
    side: Any = network.input_size
    columns = used_columns(network) if isinstance(network, OnnxNetwork) else getattr(network, "columns", slice(0, side))
    return columns.start / side, columns.stop / side


def used_columns(network: OnnxNetwork) -> slice:
    """The columns of the image from the first to the last that the embedding depends on. The network is not changed."""
    parameter, side = next(network.parameters()), network.input_size
    generator = torch.Generator().manual_seed(0)
    image_13SS = (torch.rand(1, 3, side, side, generator=generator) * 2 - 1).to(parameter.device).requires_grad_()
    was_training = network.training
    try:
        with torch.enable_grad():
            [gradient_13SS] = torch.autograd.grad(network.eval()(image_13SS).square().sum(), image_13SS)
    finally:
        network.train(was_training)
    used = gradient_13SS[0].abs().amax((0, 1)).nonzero().flatten().tolist()
    return slice(used[0], used[-1] + 1) if used else slice(0, side)


def pooling_weights(
    cells: int,
    source: int,
    source_extent: tuple[float, float] = (0.0, 1.0),
    target_extent: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Averaging weights from `source` strips over `source_extent` of the image to `cells` strips over `target_extent`.

    Weights are proportional to the overlap length. The outermost source strips are extended to the target extent.
    (cells, source), rows sum to 1.
    """
    edges = torch.linspace(*source_extent, source + 1, dtype=torch.float64)
    edges[0], edges[-1] = min(source_extent[0], target_extent[0]), max(source_extent[1], target_extent[1])
    cell_edges = torch.linspace(*target_extent, cells + 1, dtype=torch.float64)[:, None]
    overlap = (torch.minimum(cell_edges[1:], edges[1:]) - torch.maximum(cell_edges[:-1], edges[:-1])).clamp(min=0)
    return (overlap / overlap.sum(1, keepdim=True)).float()


def average_cells(map_BCHW: Tensor, row_weights_PH: Tensor, column_weights_QW: Tensor) -> Tensor:
    """Adaptive average pooling with fractional rows and columns. (B, C, H, W) -> (B, C, P, Q)"""
    return row_weights_PH @ (map_BCHW @ column_weights_QW.T)
