"""Rival: A-SKD, in our reading. The identity loss, and the teacher's attention to channels and places."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16_at")
drop_terms(config, "at")
config.terms.askd = "aird_plugin.losses.askd:AttentionSimilarity"
config.askd_weight = 80.0
config.output = "runs/faces15k_small_lr16_askd"
