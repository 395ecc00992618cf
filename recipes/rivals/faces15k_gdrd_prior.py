"""GDRD, before its stages: a small diffusion model from 16 px to 32 px, for faces15k_small_lr16_gdrd_stage1.py.

    python train.py recipes/rivals/faces15k_gdrd_prior.py

1.0 M parameters, ten minutes on one core and 0.9 GB. samples.png in the run folder shows LR, sampled and HR images of held-out
identities. Its middle block outputs 64 channels at 4x4, the size of the last map of a native 16 px student.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.teacher = None
config.head_init = "random"

config.prior_side = 32
config.prior_widths = (16, 32, 64, 64)
config.prior_ema = 0.999

config.optimizer = "adamw"
config.batch_size = 64
config.lr = 1e-3
config.weight_decay = 0.01
config.clip = 1.0
config.num_epoch = 6
config.warmup_epoch = 0.2
config.bf16 = True

config.output = "runs/faces15k_gdrd_prior"
