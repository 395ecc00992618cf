"""GDRD (arXiv 2409.06371), stage one at full size: CASIA-WebFace, ResNet18, the encoder of gdrd_prior.py.

    torchrun train.py recipes/rivals/gdrd_prior.py
    torchrun train.py recipes/rivals/gdrd_r18_lr16_stage1.py
    torchrun train.py recipes/rivals/gdrd_r18_lr16.py

The features of CASIA's two views, 128 channels at 7x7, take 12.4 GB in the bank.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.terms.gen = "aird_plugin.losses.gdrd:GDRD"
config.gen_weight = 1.0
config.identity_weight = 0.0
config.prior = "runs/gdrd_prior"
config.prior_timestep = 100
config.prior_layer = "mid"
config.val_targets = ()
config.output = "runs/gdrd_r18_lr16_stage1"
