"""Ablation: identity loss and RID."""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
del config.terms.iid, config.iid_weight, config.iid_scale
config.output = "runs/aird_r18_lr16_rid"
