"""Rival: octuplet loss (FG 2023) over the HR and the 16 px image, with the identity loss of both.

The authors fine-tune trained networks; `student_init=FILE` does that here. The HR image cache of the bank takes 18.6 GB for
CASIA-WebFace; online=True decodes the images and runs the teacher in every step instead.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "aird_r18_lr16")
drop_terms(config, "iid", "rid")
config.terms.octuplet = "aird_plugin.losses.octuplet:Octuplet"
config.octuplet_weight = 1.0
config.octuplet_margin = 0.5
config.also_px = (112,)
config.identity_also = True
config.faces_per_person = 4
config.output = "runs/aird_r18_lr16_octuplet"
