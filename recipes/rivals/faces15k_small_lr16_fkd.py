"""Rival: F-KD, feature regression with the identity loss and the paper's weight of 0.1."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.fkd = "aird_plugin.losses.fkd:FKD"
config.fkd_weight = 0.1
config.output = "runs/faces15k_small_lr16_fkd"
