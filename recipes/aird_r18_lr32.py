"""AIRD at 32 px."""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
config.px = 32
config.output = "runs/aird_r18_lr32"
