"""Baseline: trained from scratch on LR images. The identity loss alone, random class centers, no teacher."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.teacher = None
config.head_init = "random"
config.output = "runs/faces15k_small_lr16_scratch"
