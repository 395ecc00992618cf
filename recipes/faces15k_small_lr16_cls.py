"""Ablation: the identity loss alone; the class centres still start from the teacher's."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.output = "runs/faces15k_small_lr16_cls"
