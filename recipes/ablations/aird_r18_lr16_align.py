"""AIRD with an additional cosine regression term and a small identity weight."""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
config.terms.align = "aird_plugin.losses.cosine:CosineRegression"
config.align_weight = 8.0
config.identity_weight = 0.1
config.output = "runs/aird_r18_lr16_align"
