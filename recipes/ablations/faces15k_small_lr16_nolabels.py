"""Without labels: cosine regression to the teacher and KL over anchors from the bank; no identity loss and no class centers."""

from aird_plugin.recipe import base

config = base(__file__, "faces15k_small_lr16_cosine")
config.labels = False
config.identity_weight = 0.0
config.terms.akl = "aird_plugin.losses.anchor_kl:AnchorKL"
config.akl_weight = 1.0
config.akl_scale = 20.0
config.output = "runs/faces15k_small_lr16_nolabels"
