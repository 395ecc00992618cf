"""Rival: MagFace (arXiv 2103.06627) alone, the margin that grows with the length of the embedding.

Lengths of this student lie around 11.3, the root of its 128 numbers (see losses/magface.py), 3 in 100 below 9 and 5 in 100 above
14; the margin is 0.29 in the middle (its siblings: 0.3), the scale 32. lambda_g exceeds what the margin pulls the other way
1.55 times at l_a, as the authors' numbers do.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.margin = "aird_plugin.losses.magface:MagFace"
config.margin_l_a = 9.0
config.margin_u_a = 14.0
config.margin_l_margin = 0.2
config.margin_u_margin = 0.4
config.margin_lambda_g = 275.0
config.output = "runs/faces15k_small_lr16_magface"
