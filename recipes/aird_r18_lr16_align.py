"""AIRD with a cosine alignment term; the identity loss then weighs little."""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
config.terms.align = "aird_plugin.losses.alignment:Alignment"
config.align_weight = 8.0
config.identity_weight = 0.1
config.output = "runs/aird_r18_lr16_align"
