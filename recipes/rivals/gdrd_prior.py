"""GDRD, before its stages: a diffusion model from 16 px to 56 px on CASIA-WebFace, for gdrd_r18_lr16_stage1.py.

    torchrun train.py recipes/rivals/gdrd_prior.py

15 M parameters. Its middle block outputs 128 channels at 7x7, the size of an iresnet's last map. prior=FOLDER takes any model in
diffusers' format instead (unet/ with a UNet2DModel for square images, scheduler/). The bank's cache of 56 px images takes 4.7 GB
for CASIA's two views.
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
