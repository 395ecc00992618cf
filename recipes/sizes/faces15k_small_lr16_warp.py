"""AIRD with cosine regression for images that InsightFace's FaceAnalysis warps up to 112 px."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_align")
config.degradation = "insightface-warp"
config.output = "runs/faces15k_small_lr16_warp"
