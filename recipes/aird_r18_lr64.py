"""AIRD at 64 px."""

from aird_plugin.recipe import base

config = base(__file__, "aird_r18_lr16")
config.px = 64
config.output = "runs/aird_r18_lr64"
