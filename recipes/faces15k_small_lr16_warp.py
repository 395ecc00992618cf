"""AIRD with alignment for faces that reach the network through InsightFace's FaceAnalysis, which warps them up to 112 px."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.degradation = "insightface-warp"
config.output = "runs/faces15k_small_lr16_warp"
