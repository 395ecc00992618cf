"""Rival: Deep Siamese recognition (2021): the mean identity loss of three sizes and one triplet loss over all of them.

The authors use 8, 12, 16 and 128 px; the native student takes at most 16 px. The teacher only initialises the class centers.
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
