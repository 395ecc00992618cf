"""AIRD with alignment at 32 px, by the network of `faces15k_small_allsizes`: what that one is compared with at 32 px."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.network = "native32_1m"
config.px = 32
config.output = "runs/faces15k_small32_lr32"
