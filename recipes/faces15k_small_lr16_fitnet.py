"""Rival: FitNet. The identity loss, and the teacher's maps themselves through adapters."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16_at")
drop_terms(config, "at")
config.terms.fitnet = "aird_plugin.losses.fitnet:FitNet"
config.fitnet_weight = 1.5
config.output = "runs/faces15k_small_lr16_fitnet"
