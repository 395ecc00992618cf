"""The head of a run without labels: no class centers, no cosines to them, no identity loss."""

from torch import Tensor, nn

from aird_plugin.losses.sharding import SINGLE_SHARD
from aird_plugin.models.head import ClassCosines
from aird_plugin.utils import distributed


class NoHead(nn.Module):
    """The part of `Head`'s interface that a step uses, without parameters or state."""

    sampled = False

    def __init__(self):
        super().__init__()
        self.margin = nn.Module()
        self.shards = SINGLE_SHARD if distributed.world_size() == 1 else distributed.ClassShards()

    def cosines(self, student_BD: Tensor, teacher_BD: Tensor | None, label_B: Tensor, step: int = 0) -> ClassCosines:
        """No cosines, and no labels: a term that uses either fails."""
        return ClassCosines(None, None, None)
