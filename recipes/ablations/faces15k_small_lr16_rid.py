"""Ablation: identity loss and RID."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid")
config.output = "runs/faces15k_small_lr16_rid"
