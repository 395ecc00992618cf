"""Ablation: identity loss and IID."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "rid")
config.output = "runs/faces15k_small_lr16_iid"
