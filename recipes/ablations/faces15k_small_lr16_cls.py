"""Ablation: the identity loss alone; the class centers are initialised from the teacher."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.output = "runs/faces15k_small_lr16_cls"
