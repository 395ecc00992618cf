"""GDRD (arXiv 2409.06371), stage one: the trunk regresses the diffusion encoder's features of the same LR image.

    python train.py recipes/rivals/faces15k_gdrd_prior.py
    python train.py recipes/rivals/faces15k_small_lr16_gdrd_stage1.py
    python train.py recipes/rivals/faces15k_small_lr16_gdrd.py

This stage uses no identity labels: the embedding layers get no gradient, only weight decay, and there is nothing to verify. `gen`
in metrics.jsonl is 1 - R^2 of the features: a constant prediction has 1.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.gen = "aird_plugin.losses.gdrd:GDRD"
config.gen_weight = 1.0
config.identity_weight = 0.0
config.prior = "runs/faces15k_gdrd_prior"
config.prior_timestep = 100
config.prior_layer = "mid"
config.val_targets = ()
config.output = "runs/faces15k_small_lr16_gdrd_stage1"
