"""Rival: MagFace (arXiv 2103.06627) alone, a margin that grows with the embedding norm.

This student's norms lie around 11.3, the square root of its width of 128 (see losses/magface.py), 3 % below 9 and 5 % above 14;
the margin is 0.29 in the middle (0.3 in the other small recipes), the scale 32. At l_a, lambda_g exceeds the margin's opposing
gradient 1.55 times, as in the authors' settings.
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
