"""AIRD with cosine regression for images of varied cameras: blur, downsampling, noise and JPEG in random order per image."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.degradation = "realworld"
config.output = "runs/faces15k_small_lr16_realworld"
