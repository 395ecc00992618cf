"""What upstream's loop reads from: the bank, or its own reader with the low faces and the teacher's word made in the step.

B = faces on this rank.
"""

from contextlib import closing

import numpy as np
import torch
from torch.utils.data import DataLoader

from aird_plugin import distributed
from aird_plugin.data.degrade import shrink_torch
from aird_plugin.data.faces import Batch
from aird_plugin.data.loader import loader
from aird_plugin.data.plan import Draw
from aird_plugin.lesson_data import needs_of


def dataloader(original, hosted):
    """get_dataloader: the recipe's reader. Upstream's own one is called with upstream's own arguments."""

    def make(*args, **options):
        if hosted.lesson.recipe.bridge.reader == "upstream":
            return UpstreamReader(original(*args, **options), hosted)
        return BankReader(hosted)

    return make


class EpochOfBatches:
    """Numbers of an epoch's batches; upstream calls `set_epoch`. The first epoch of a resumed run begins in its middle."""

    def __init__(self, hosted):
        self.hosted, self.epoch = hosted, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        per_epoch = self.hosted.batches_per_epoch
        first = max(self.epoch * per_epoch, self.hosted.first * self.hosted.accumulate)
        return iter(range(first, (self.epoch + 1) * per_epoch))

    def __len__(self) -> int:
        return self.hosted.batches_per_epoch


class BankReader(DataLoader):
    """The embedded host's batches in the embedded host's order, for upstream to unpack as (image, label)."""

    def __init__(self, hosted):
        lesson = hosted.lesson
        super().__init__(lesson.source, batch_size=None, sampler=EpochOfBatches(hosted))
        self.hosted = hosted

    def __iter__(self):
        lesson = self.hosted.lesson
        with closing(loader(lesson.source, self.sampler, lesson.recipe.data.num_workers, lesson.device)) as batches:
            for number, batch in zip(self.sampler, batches, strict=True):
                yield self.hosted.begin(number, batch)
                self.hosted.batch_done()


class UpstreamReader:
    """Upstream's images, shrunk by the one resize. They carry a label and no row, so RID's candidates come by person.

    A run can stop and go on at whole epochs only. Raises ValueError for a term that remembers each face by its row.
    """

    def __init__(self, loader, hosted):
        self.loader, self.hosted = loader, hosted
        lesson = hosted.lesson
        remembering = [name for name, spec in lesson.objective.specs.items() if "rows" in spec.needs]
        if remembering:
            raise ValueError(f"reader='upstream' does not say which face is which, and {remembering} asks; set reader='bank'")
        self.neighbours = lesson.source.neighbours
        self.asks = bool(needs_of(lesson.recipe, lesson.objective))
        order_N = np.argsort(lesson.records.labels, kind="stable")
        starts_P = np.searchsorted(lesson.records.labels[order_N], np.arange(lesson.recipe.head.num_classes + 1))
        self.order_N, self.starts_P = order_N, starts_P

    def __iter__(self):
        hosted = self.hosted
        number = hosted.first * hosted.accumulate if hosted.batch is None else hosted.number + 1
        if isinstance(self.loader, DataLoader):
            self.loader.sampler.set_epoch(number // hosted.batches_per_epoch)
        batches = iter(self.loader)
        for place in range(hosted.batches_per_epoch):
            image_B3HW, person_B = next(batches)
            yield hosted.begin(number + place, self._batch(image_B3HW, person_B.view(-1).long(), number + place))
            hosted.batch_done(may_stop_here=False)

    def reset(self) -> None:
        """Upstream calls it after an epoch with DALI."""
        self.loader.reset()

    def _batch(self, image_B3HW: torch.Tensor, person_B: torch.Tensor, number: int) -> Batch:
        lesson = self.hosted.lesson
        high_B3HW = image_B3HW.to(lesson.device)
        high_BHWC = (high_B3HW * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        data = lesson.recipe.data
        batch = Batch(faces_BHWC=shrink_torch(high_BHWC, data.px, data.degradation), person_B=person_B)
        if lesson.maps is not None:
            embeddings_BD, batch.teacher_maps = lesson.maps(high_BHWC)
            batch.teacher_BD = lesson.bank.as_taught(embeddings_BD).to(lesson.device)
        elif self.asks:
            batch.teacher_BD = lesson.bank.as_taught(lesson.teacher.embed_inputs(high_B3HW)).to(lesson.device)
        if self.neighbours:
            for name, value in self.neighbours.lookup(self._draw(person_B, number)).items():
                setattr(batch, name, value)
        return batch

    def _draw(self, person_B: torch.Tensor, number: int) -> Draw:
        """Any row of each face's person, from which the offline lists go on."""
        rng = np.random.default_rng((self.hosted.lesson.recipe.run.seed, number, distributed.rank()))
        person_B = person_B.cpu().numpy()
        first_B, count_B = self.starts_P[person_B], np.diff(self.starts_P)[person_B]
        rows_B = self.order_N[first_B + (rng.random(len(person_B)) * count_B).astype(np.int64)]
        return Draw(rows_B, np.zeros_like(rows_B), rng)
