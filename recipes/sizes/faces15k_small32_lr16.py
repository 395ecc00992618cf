"""AIRD with cosine regression at 16 px, with the network of `faces15k_small_allsizes`: its single-size baseline at 16 px."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.network = "native32_1m"
config.px = 16
config.output = "runs/faces15k_small32_lr16"
