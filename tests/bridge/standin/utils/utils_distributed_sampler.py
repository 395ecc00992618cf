import os
import random

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler as _DistributedSampler


def setup_seed(seed, cuda_deterministic=True):
    os.environ["PYTHONHASHSEED"] = str(seed)
    for set_seed in (torch.manual_seed, torch.cuda.manual_seed_all, np.random.seed, random.seed):
        set_seed(seed)
    torch.backends.cudnn.deterministic = bool(cuda_deterministic)
    torch.backends.cudnn.benchmark = not cuda_deterministic


def worker_init_fn(worker_id, num_workers, rank, seed):
    for set_seed in (np.random.seed, random.seed, torch.manual_seed):
        set_seed(num_workers * rank + worker_id + seed)


def get_dist_info():
    on = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if on else (0, 1)


class DistributedSampler(_DistributedSampler):
    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0):
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle)
        self.seed = seed
