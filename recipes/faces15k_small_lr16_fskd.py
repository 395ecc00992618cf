"""Rival: F-SKD. The identity loss, and maps that point where the teacher's do, alone and between two faces."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16_at")
drop_terms(config, "at")
config.terms.fskd = "aird_plugin.losses.fskd:FeatureSimilarity"
config.fskd_weight = 20.0
config.fskd_cross = 0.2
config.output = "runs/faces15k_small_lr16_fskd"
