"""The paper's student (ResNet18 on the LR image upsampled to 112 px) on the small real data set; for a GPU.

torchrun train.py recipes/ablations/faces15k_r18_lr16.py
"""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16")
config.network = "r18"
config.rid_negatives = 256
config.lr = 0.05
config.num_epoch = 20
config.bf16 = True
config.output = "runs/faces15k_r18_lr16"
