"""Rival: CCFace (arXiv 2308.09230, an interpretation): frozen teacher class centers, adaptive margin, class consistency.

The margin of 0.3, as in the other small recipes, is that of an image on which student and teacher agree fully.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.centers = "frozen"
config.margin = "aird_plugin.losses.ccface:AdaptiveMargin"
config.margin_m = 0.3
config.terms.consistency = "aird_plugin.losses.ccface:Consistency"
config.output = "runs/faces15k_small_lr16_ccface"
