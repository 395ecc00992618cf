"""Ablation: the identity loss alone; the class centers are initialised from the teacher."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.output = "runs/aird_r18_lr16_cls"
