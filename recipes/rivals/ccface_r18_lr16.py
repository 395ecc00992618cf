"""CCFace (arXiv 2308.09230, an interpretation): frozen teacher class centers, adaptive margin, class consistency; 16 px.

    torchrun train.py recipes/rivals/ccface_r18_lr16.py

Data, networks and schedule are those of recipes/aird_r18_lr16.py, so that the methods are comparable.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.centers = "frozen"
config.margin = "aird_plugin.losses.ccface:AdaptiveMargin"
config.margin_m = 0.5
config.terms.consistency = "aird_plugin.losses.ccface:Consistency"
config.output = "runs/ccface_r18_lr16"
