"""AIRD with cosine regression at 32 px, with the network of `faces15k_small_allsizes`: its single-size baseline at 32 px."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.network = "native32_1m"
config.px = 32
config.output = "runs/faces15k_small32_lr32"
