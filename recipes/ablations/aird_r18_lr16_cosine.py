"""Rival: cosine regression to the teacher with a small identity weight, the simplest distillation."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.terms.align = "aird_plugin.losses.cosine:CosineRegression"
config.align_weight = 8.0
config.identity_weight = 0.1
config.output = "runs/aird_r18_lr16_cosine"
