"""Rival: Deep Siamese recognition (2021): 8, 12 and 16 px and the HR image; mean AM-Softmax and one triplet loss over all.

Margin, scale and triplet loss are the authors'; network, data and schedule are those of the other recipes here. The HR image
cache of the bank takes 18.6 GB for CASIA-WebFace; online=True decodes the images and runs the teacher in every step instead.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.terms.siamese = "aird_plugin.losses.siamese:Siamese"
config.siamese_weight = 1.0
config.siamese_margin = 1.0
config.also_px = (8, 12, 112)
config.identity_also = True
config.margin_list = (1.0, 0.0, 0.35)
config.margin_scale = 30.0
config.output = "runs/aird_r18_lr16_siamese"
