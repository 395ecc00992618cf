"""Rival: Deep Siamese recognition (2021): the mean identity loss of three sizes and one triplet loss over them all.

Theirs are 8, 12, 16 and 128 px; the native student cannot see more than 16 px. No teacher but for the class centres.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.siamese = "aird_plugin.losses.siamese:Siamese"
config.siamese_weight = 1.0
config.siamese_margin = 1.0
config.also_px = (8, 12)
config.identity_also = True
config.output = "runs/faces15k_small_lr16_siamese"
