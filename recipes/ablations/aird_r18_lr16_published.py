"""AIRD as published: RID with relation networks and CRD's contrast, equations 2 to 4 and 7; the baseline of `aird_r18_lr16`."""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
config.rid_contrast = "nce"
config.rid_weight = 2.0
config.output = "runs/aird_r18_lr16_published"
