"""AIRD with cosine regression at 64 px, with the network of `faces15k_small_allsizes`: its single-size baseline at 64 px."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.network = "native32_1m"
config.px = 64
config.output = "runs/faces15k_small32_lr64"
