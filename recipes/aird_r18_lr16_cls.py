"""Ablation: the identity loss alone; the class centres still start from the teacher's."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.output = "runs/aird_r18_lr16_cls"
