"""Rival of faces15k_mfn_lr16 with the same budget: cosine regression with a small identity weight."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_mfn_lr16")
drop_terms(config, "iid", "rid")
config.output = "runs/faces15k_mfn_lr16_cosine"
