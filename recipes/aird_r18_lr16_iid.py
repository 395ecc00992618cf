"""Ablation: identity loss and IID."""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
del config.terms.rid, config.rid_weight, config.rid_negatives
config.output = "runs/aird_r18_lr16_iid"
