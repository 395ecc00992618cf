"""Rival: AdaFace (arXiv 2204.00964) alone, a margin that depends on image quality.

Margin 0.3 and scale 32, as in the other small recipes, for the paper's 0.4 and 64. The norm statistics start at 20 and 100 and
reach this student's (11 and 1.4) in a hundred steps of weight 0.05; the paper's 0.01 would take a third of this short run.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.margin = "aird_plugin.losses.adaface:AdaFace"
config.margin_m = 0.3
config.margin_t_alpha = 0.05
config.output = "runs/faces15k_small_lr16_adaface"
