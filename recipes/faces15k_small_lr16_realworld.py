"""AIRD with alignment for the faces of many cameras: blur, shrinking, noise and JPEG in an order of its own for each face."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.degradation = "realworld"
config.output = "runs/faces15k_small_lr16_realworld"
