"""Rival: CCFace (arXiv 2308.09230, our reading): the teacher's class centres kept, a margin by agreement, consistency of classes.

Its siblings' margin of 0.3 is that of a face on which student and teacher agree fully.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.head_frozen = True
config.margin = "aird_plugin.losses.ccface:AdaptiveMargin"
config.margin_m = 0.3
config.terms.consistency = "aird_plugin.losses.ccface:Consistency"
config.output = "runs/faces15k_small_lr16_ccface"
