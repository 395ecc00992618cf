"""GDRD, before its stages: a diffusion model that makes 16 px faces 56 px large, on CASIA-WebFace, for gdrd_r18_lr16_stage1.py.

    torchrun train.py recipes/gdrd_prior.py

15 M parameters. Its middle block gives 128 channels at 7x7, the side of an iresnet's last map. Anything in diffusers' format
(unet/ with a UNet2DModel of square faces, scheduler/) may stand in its place: prior=FOLDER. The sharp faces at 56 px are a part
of the bank, 4.7 GB for CASIA's two views.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.teacher = None
config.head_init = "random"

config.prior_side = 56
config.prior_widths = (64, 128, 256, 128)
config.prior_blocks = 2

config.optimizer = "adamw"
config.batch_size = 128
config.lr = 2e-4
config.weight_decay = 0.01
config.clip = 1.0
config.num_epoch = 50
config.warmup_epoch = 0.5
config.schedule = "cosine"

config.output = "runs/gdrd_prior"
