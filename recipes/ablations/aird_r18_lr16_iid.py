"""Ablation: identity loss and IID."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "rid")
config.output = "runs/aird_r18_lr16_iid"
