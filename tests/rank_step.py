"""The parts of one training step on this rank's images, for tests that two ranks equal one (`tests.ranks.on_ranks`)."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from aird_plugin.models.head import Head, HeadConfig
from aird_plugin.utils import distributed

FACES, CLASSES, WIDTH, NEGATIVES = 8, 7, 5, 3


def own_part() -> slice:
    """This rank's part of the eight images; all of them on one rank."""
    rank, ranks = distributed.rank(), distributed.world_size()
    return slice(rank * FACES // ranks, (rank + 1) * FACES // ranks)


class Batch:
    """This rank's part of eight images, of which two have no anchor."""

    teacher_maps, generative_BCHW = (), None

    def __init__(self, labels: tuple[int, ...] = (0, 6, 3, 3, 1, 5, 2, 4)):
        part, generator = own_part(), torch.Generator().manual_seed(0)

        def draw(*shape):
            return F.normalize(torch.randn(*shape, generator=generator), dim=-1)

        self.x = draw(FACES, 6)[part]
        self.row_B = torch.arange(FACES)[part]
        self.teacher_BD = draw(FACES, WIDTH)[part]
        self.anchor_BD = draw(FACES, WIDTH)[part]
        self.negative_BKD = draw(FACES, NEGATIVES, WIDTH)[part]
        self.negative_exists_BK = torch.ones(FACES, NEGATIVES, dtype=torch.bool)[part]
        self.has_anchor_B = torch.tensor([True, True, False, True, True, True, True, False])[part]
        self.label_B = torch.tensor(labels)[part]
        self.px_B = torch.tensor([8, 16, 31, 64, 9, 50, 12, 20])[part]


def in_ddp(student: nn.Module) -> nn.Module:
    """The network that a step calls: the student, in DDP on several ranks. Keep it until `backward`: DDP's hooks end with it."""
    return DistributedDataParallel(student) if distributed.world_size() > 1 else student


def small_student() -> nn.Module:
    """A student without BatchNorm, which would be measured on each rank alone."""
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, WIDTH))


def small_head(margin=None, **keys) -> Head:
    """A head whose class centers differ from the teacher's. keys: of its config."""
    center_CD = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(2))
    return Head(HeadConfig(CLASSES, margin_scale=8.0, **keys), WIDTH, center_CD, center_CD.flip(0), seed=4, margin=margin)


def losses_and_gradients_of(student: nn.Module, objective: nn.Module, out: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The losses over all ranks, and the gradients as the optimizer gets them, after `backward`."""
    distributed.average_gradients(objective.parameters())
    found = {f"loss/{name}": distributed.mean_over_ranks(value.detach()) for name, value in out.items()}
    for owner, module in (("student", student), ("objective", objective)):
        found |= {f"{owner}/{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return found
