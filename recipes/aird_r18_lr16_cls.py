"""Ablation: the identity loss alone, no distillation; the class centres start at random."""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
config.terms = {}
for key in [key for key in config if key.startswith(("iid_", "rid_"))]:
    del config[key]
config.teacher = None
config.head_init = "random"
config.output = "runs/aird_r18_lr16_cls"
