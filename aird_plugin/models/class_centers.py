"""Class centers of the head: shards of the classes, initialisation, and the update of AdaDistill.

B, G = images on this rank, on all ranks; C = classes on this rank; D = embedding width.
"""

import torch
from torch import Tensor

from aird_plugin.losses.adadistill import moved_centers
from aird_plugin.losses.precision import at_least_float32
from aird_plugin.utils import distributed

ROW_BLOCK = 16384


@torch.no_grad()
def adapt_centers(weight_CD: Tensor, shard: slice, student_BD: Tensor, teacher_BD: Tensor, label_B: Tensor) -> None:
    """Update this rank's class centers in place with the images of all ranks (AdaDistill)."""
    student_GD, teacher_GD = (distributed.gather_rows(at_least_float32(rows_BD)) for rows_BD in (student_BD, teacher_BD))
    label_G = labels_in(shard, distributed.gather_rows(label_B))
    class_K, center_KD = moved_centers(weight_CD, label_G, student_GD, teacher_GD)
    weight_CD[class_K] = center_KD


def labels_in(shard: slice, label_G: Tensor) -> Tensor:
    """Index of each image's class within the shard; -1 where another rank holds the class."""
    return torch.where((label_G >= shard.start) & (label_G < shard.stop), label_G - shard.start, -1)


def initial_centers(
    num_classes: int, embedding_size: int, shard: slice, centers_CD: Tensor | None = None, seed: int = 0
) -> Tensor:
    """The shard's initial class centers, float32 or float64: rows of `centers_CD`, or a small normal drawn from `seed`.

    Every rank draws the normal of all ranks in blocks and keeps its own rows: the centers are the same on any number of ranks.
    Raises ValueError for a wrong shape and for an empty shard.
    """
    if shard.start >= shard.stop:
        raise ValueError(f"num_classes={num_classes} leaves a rank without a class; use fewer ranks")
    if centers_CD is None:
        return _draw_rows(num_classes, embedding_size, shard, torch.Generator().manual_seed(seed))
    if tuple(centers_CD.shape) != (num_classes, embedding_size):
        raise ValueError(f"the head needs class centers ({num_classes}, {embedding_size}); got {tuple(centers_CD.shape)}")
    return at_least_float32(centers_CD[shard].clone())


def _draw_rows(num_classes: int, width: int, shard: slice, generator: torch.Generator) -> Tensor:
    """The shard's rows of one normal draw of (num_classes, width), without allocating all of it."""
    shard_CD = torch.empty(shard.stop - shard.start, width)
    # The last block is the longest, because torch draws the last 16 values of a tensor differently.
    starts = list(range(0, max(num_classes - ROW_BLOCK, 1), ROW_BLOCK))
    for first, last in zip(starts, [*starts[1:], num_classes], strict=True):
        if first >= shard.stop:
            break
        block_RD = torch.empty(last - first, width).normal_(0, 0.01, generator=generator)
        kept = slice(max(shard.start, first), min(shard.stop, last))
        if kept.start < kept.stop:
            shard_CD[kept.start - shard.start : kept.stop - shard.start] = block_RD[kept.start - first : kept.stop - first]
    return shard_CD


def shard_of(num_classes: int, rank: int, world_size: int) -> slice:
    """The classes of a rank; the first ranks hold one more where the number does not divide evenly (as in arcface_torch)."""
    share, extra = divmod(num_classes, world_size)
    first = share * rank + min(rank, extra)
    return slice(first, first + share + (rank < extra))
