import numbers
import os
from functools import partial

import mxnet as mx
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from utils.utils_distributed_sampler import DistributedSampler, get_dist_info, worker_init_fn


def get_dataloader(root_dir, local_rank, batch_size, dali=False, dali_aug=False, seed=2048, num_workers=2):
    if dali:
        raise ModuleNotFoundError("the stand-in has no DALI")
    train_set = MXFaceDataset(root_dir=root_dir, local_rank=local_rank)
    rank, world_size = get_dist_info()
    sampler = DistributedSampler(train_set, num_replicas=world_size, rank=rank, shuffle=True, seed=seed)
    init = None if seed is None else partial(worker_init_fn, num_workers=num_workers, rank=rank, seed=seed)
    return DataLoaderX(
        local_rank=local_rank,
        dataset=train_set,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        pin_memory=True,
        drop_last=True,
        worker_init_fn=init,
    )


class DataLoaderX(DataLoader):
    def __init__(self, local_rank, **kwargs):
        super().__init__(**kwargs)
        self.stream = torch.cuda.Stream(local_rank)
        self.local_rank = local_rank

    def __iter__(self):
        for batch in super().__iter__():
            with torch.cuda.stream(self.stream):
                batch = [part.to(device=self.local_rank, non_blocking=True) for part in batch]
            torch.cuda.current_stream().wait_stream(self.stream)
            yield batch


class MXFaceDataset(Dataset):
    def __init__(self, root_dir, local_rank):
        super().__init__()
        steps = transforms.ToPILImage(), transforms.RandomHorizontalFlip(), transforms.ToTensor()
        self.transform = transforms.Compose([*steps, transforms.Normalize(mean=[0.5] * 3, std=[0.5] * 3)])
        self.root_dir = root_dir
        self.local_rank = local_rank
        idx, rec = (os.path.join(root_dir, name) for name in ("train.idx", "train.rec"))
        self.imgrec = mx.recordio.MXIndexedRecordIO(idx, rec, "r")
        header = mx.recordio.unpack(self.imgrec.read_idx(0))[0]
        if header.flag > 0:
            self.header0 = tuple(int(header.label[i]) for i in (0, 1))
            self.imgidx = np.arange(1, self.header0[0])
        else:
            self.imgidx = np.array(list(self.imgrec.keys))

    def __getitem__(self, index):
        header, coded = mx.recordio.unpack(self.imgrec.read_idx(self.imgidx[index]))
        label = header.label if isinstance(header.label, numbers.Number) else header.label[0]
        sample = mx.image.imdecode(coded).asnumpy()
        if self.transform is not None:
            sample = self.transform(sample)
        return sample, torch.tensor(label, dtype=torch.long)

    def __len__(self):
        return len(self.imgidx)
