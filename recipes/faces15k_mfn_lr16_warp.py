"""faces15k_mfn_lr16 for faces that reach the network through InsightFace's FaceAnalysis, which warps them up to 112 px."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_mfn_lr16")
config.degradation = "insightface-warp"
config.output = "runs/faces15k_mfn_lr16_warp"
