"""Data readers for upstream's loop: the bank, or upstream's own reader with LR images and teacher outputs computed in the step.

B = images on this rank.
"""

from contextlib import closing

import numpy as np
import torch
from torch.utils.data import DataLoader

from aird_plugin.bridge.patching import rebind
from aird_plugin.bridge.upstream_records import check_same_images, folder_for_upstream, rows_as_keys
from aird_plugin.data.batch import Batch
from aird_plugin.data.degradation import downsample_torch
from aird_plugin.data.loader import loader
from aird_plugin.data.recordio.face_records import FaceRecords
from aird_plugin.data.sampler import BatchIndices
from aird_plugin.losses.term import Needs
from aird_plugin.utils import distributed


def dataloader(original, run):
    """Replaces get_dataloader by the recipe's reader. Upstream's own reader receives the original arguments, but for the folder
    of records that it cannot open."""

    def make(root_dir, *args, **options):
        if run.setup.recipe.bridge.reader != "upstream":
            return BankReader(run)
        records = run.setup.records
        if isinstance(records, FaceRecords):
            rebind(run.stack, "mxnet.recordio", "MXIndexedRecordIO", rows_as_keys(records))
        loader = original(folder_for_upstream(records, run.stack), *args, **options)
        check_same_images(loader, records)
        return UpstreamReader(loader, run)

    return make


class EpochSampler:
    """Batch indices of an epoch; upstream calls `set_epoch`. The first epoch of a resumed run may start in the middle."""

    def __init__(self, run):
        self.run, self.epoch = run, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        per_epoch = self.run.batches_per_epoch
        first = max(self.epoch * per_epoch, self.run.first * self.run.accumulate)
        return iter(range(first, (self.epoch + 1) * per_epoch))

    def __len__(self) -> int:
        return self.run.batches_per_epoch


class BankReader(DataLoader):
    """The batches of the embedded loop, in the same order, yielded as (image, label)."""

    def __init__(self, run):
        setup = run.setup
        super().__init__(setup.source, batch_size=None, sampler=EpochSampler(run))
        self.run = run

    def __iter__(self):
        setup = self.run.setup
        with closing(loader(setup.source, self.sampler, setup.recipe.data.num_workers, setup.device)) as batches:
            for batch_index, batch in zip(self.sampler, batches, strict=True):
                yield self.run.begin(batch_index, batch)
                self.run.batch_done()


class UpstreamReader:
    """Upstream's images, downsampled by the reference resize. They come without a row, so RID's candidates are drawn by label.

    A run can stop and resume at whole epochs only. Raises ValueError for a term that stores a value per row.
    """

    def __init__(self, loader, run):
        self.loader, self.run = loader, run
        setup = run.setup
        row_terms = [name for name, spec in setup.objective.specs.items() if Needs.ROWS in spec.needs]
        if row_terms:
            raise ValueError(f"reader='upstream' gives images without their row, which {row_terms} needs; set reader='bank'")
        self.neighbours = setup.source.neighbours
        order_N = np.argsort(setup.records.labels, kind="stable")
        starts_P = np.searchsorted(setup.records.labels[order_N], np.arange(setup.recipe.head.num_classes + 1))
        self.order_N, self.starts_P = order_N, starts_P

    def __iter__(self):
        run = self.run
        batch_index = run.first * run.accumulate if run.batch is None else run.batch_index + 1
        if isinstance(self.loader, DataLoader):
            self.loader.sampler.set_epoch(batch_index // run.batches_per_epoch)
        batches = iter(self.loader)
        for offset in range(run.batches_per_epoch):
            image_B3HW, label_B = next(batches)
            index = batch_index + offset
            yield run.begin(index, self._batch(image_B3HW, label_B.view(-1).long(), index))
            run.batch_done(may_stop_here=False)

    def reset(self) -> None:
        """Called by upstream after an epoch with DALI."""
        self.loader.reset()

    def _batch(self, image_B3HW: torch.Tensor, label_B: torch.Tensor, batch_index: int) -> Batch:
        setup = self.run.setup
        hr_B3HW = image_B3HW.to(setup.device)
        hr_BHWC = (hr_B3HW * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        data = setup.recipe.data
        low_BHWC = downsample_torch(hr_BHWC, data.px, data.degradation)
        batch = setup.add_teacher_outputs(Batch(images_BHWC=low_BHWC, label_B=label_B, hr_BHWC=hr_BHWC))
        if self.neighbours:
            for name, value in self.neighbours.lookup(self._batch_indices(label_B, batch_index)).items():
                setattr(batch, name, value)
        return batch

    def _batch_indices(self, label_B: torch.Tensor, batch_index: int) -> BatchIndices:
        """A random row of each image's identity, to look up the precomputed neighbour lists."""
        rng = np.random.default_rng((self.run.setup.recipe.run.seed, batch_index, distributed.rank()))
        person_B = label_B.cpu().numpy()
        first_B, count_B = self.starts_P[person_B], np.diff(self.starts_P)[person_B]
        rows_B = self.order_N[first_B + (rng.random(len(person_B)) * count_B).astype(np.int64)]
        return BatchIndices(rows_B, np.zeros_like(rows_B), rng)
