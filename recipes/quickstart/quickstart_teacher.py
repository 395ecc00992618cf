"""Quickstart, step 1: a small teacher for 112 px images of synthetic identities. CPU, minutes.

python train.py recipes/quickstart/quickstart_teacher.py
"""

from easydict import EasyDict as edict

config = edict()

config.rec = "runs/quickstart/faces"
config.px = 112
config.views = 4
config.bank = "runs/quickstart/bank"

config.network = "native112_0.5m"
config.embedding_size = 128
config.margin_list = (1.0, 0.0, 0.0)
config.margin_scale = 32.0

config.batch_size = 32
config.lr = 0.1
config.num_epoch = 20
config.warmup_epoch = 1
config.schedule = "cosine"

config.frequent = 10
config.output = "runs/quickstart/quickstart_teacher"
