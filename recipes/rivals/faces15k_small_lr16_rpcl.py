"""Rival: RPCL-Arc (Neural Networks 2022) alone, a margin on the own class and a modified logit for its strongest rival class.

A margin of 0.3, as in the other small recipes, for the source's 0.5, on the own class and the rival; the scale of 32 is also the
source's.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.margin = "aird_plugin.losses.rpcl:Arc"
config.margin_m = 0.3
config.margin_rival_m = 0.3
config.output = "runs/faces15k_small_lr16_rpcl"
