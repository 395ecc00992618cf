"""A frozen teacher's intermediate maps, laid over those of a student whose maps have other sides.

B = faces, C = channels, H, W = sides of the teacher's map, P, Q = sides of the student's.
"""

import torch
from torch import Tensor, nn

from aird_plugin.data.lowres import to_input
from aird_plugin.models.fold import fold_batchnorms
from aird_plugin.models.maps import map_shapes, stages_of


class TeacherMaps:
    """A frozen teacher's maps, laid over a student's: as many, each with the rows and columns of the student's own.

    A student's map is paired with the teacher's smallest map that has as many rows or more (one of equal side where there is
    one), and that is averaged over the part of the face that each cell of the student's sees. So a native 16 px student (sides
    16, 8, 4) meets sides 28, 14, 7 of a 112 px teacher, and iresnet meets iresnet stage by stage.
    student_channels, teacher_channels: of each pair.
    Raises ValueError for a teacher without maps (.onnx), and for a student with a map larger than any of the teacher's.
    """

    def __init__(self, teacher, student: nn.Module):
        if teacher.kind != "pt":
            raise ValueError(
                f"teacher {teacher.path} is an ONNX graph and gives embeddings alone, but intermediate maps are asked for; "
                "set teacher=FILE.pt, the weights it was exported from"
            )
        self.teacher = teacher
        self.folded = fold_batchnorms(teacher.net, stages_of(teacher.net)).to(memory_format=torch.channels_last)
        own, theirs = map_shapes(student), map_shapes(teacher.net)
        self.partners = [_partner(rows, [shape[1] for shape in theirs]) for _, rows, _ in own]
        self.student_channels = tuple(channels for channels, _, _ in own)
        self.teacher_channels = tuple(theirs[partner][0] for partner in self.partners)
        seen, wanted = columns_of(teacher.net), columns_of(student)
        self.shares = [
            (
                cell_shares(rows, theirs[partner][1]).to(teacher.device),
                cell_shares(columns, theirs[partner][2], seen, wanted).to(teacher.device),
            )
            for (_, rows, columns), partner in zip(own, self.partners, strict=True)
        ]

    def __call__(self, faces_BHWC: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """uint8 RGB faces (B, 112, 112, 3), any B -> embeddings (B, D), not normalised, and the maps; on the teacher's device."""
        device = self.teacher.device
        embeddings, maps = [], []
        # No inference mode: what it makes may not be saved for a backward pass.
        with torch.no_grad():
            for some_faces in faces_BHWC.split(self.teacher.batch):
                inputs = to_input(some_faces.to(device)).to(memory_format=torch.channels_last)
                some_embeddings, all_maps = self.folded(inputs)
                embeddings.append(some_embeddings)
                maps.append(self.lay(all_maps))
        return torch.cat(embeddings), tuple(torch.cat(parts) for parts in zip(*maps, strict=True))

    def lay(self, teacher_maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """All of the teacher's maps -> one for each of the student's, averaged to its cells."""
        return tuple(
            average_cells(teacher_maps[partner], *shares) for partner, shares in zip(self.partners, self.shares, strict=True)
        )


def _partner(rows: int, teacher_rows: list[int]) -> int:
    """Place of the deepest of the teacher's maps that has `rows` rows or more."""
    places = [place for place, theirs in enumerate(teacher_rows) if theirs >= rows]
    if not places:
        raise ValueError(f"the student has a map of side {rows}, larger than the teacher's ({', '.join(map(str, teacher_rows))})")
    return places[-1]


def columns_of(network: nn.Module) -> tuple[float, float]:
    """Where the columns that a network looks at begin and end, as shares of the face's width; all but `mfn` see it whole."""
    columns = getattr(network, "columns", slice(0, network.input_size))
    return columns.start / network.input_size, columns.stop / network.input_size


def cell_shares(cells: int, source: int, seen=(0.0, 1.0), wanted=(0.0, 1.0)) -> Tensor:
    """How much of each of `source` strips over the part `seen` of a face goes into each of `cells` strips over the part `wanted`.

    By the length they share; the outermost strips reach on as far as is wanted. (cells, source), rows sum to 1.
    """
    edges = torch.linspace(*seen, source + 1, dtype=torch.float64)
    edges[0], edges[-1] = min(seen[0], wanted[0]), max(seen[1], wanted[1])
    cell_edges = torch.linspace(*wanted, cells + 1, dtype=torch.float64)[:, None]
    shared = (torch.minimum(cell_edges[1:], edges[1:]) - torch.maximum(cell_edges[:-1], edges[:-1])).clamp(min=0)
    return (shared / shared.sum(1, keepdim=True)).float()


def average_cells(map_BCHW: Tensor, row_shares_PH: Tensor, column_shares_QW: Tensor) -> Tensor:
    """A map averaged to P x Q cells: adaptive average pooling that counts rows and columns in part. (B, C, P, Q)"""
    return row_shares_PH @ (map_BCHW @ column_shares_QW.T)
