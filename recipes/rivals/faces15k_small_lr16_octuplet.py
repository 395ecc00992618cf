"""Rival: octuplet loss (FG 2023) with the identity loss of both sizes; the teacher only initialises the class centers.

The native student takes at most 16 px, so the two sizes here are 16 px and 8 px. A batch holds up to four images of an identity;
3,526 of the 5,099 identities have a single image, whose positive is the same image at the other size.
"""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.octuplet = "aird_plugin.losses.octuplet:Octuplet"
config.octuplet_weight = 1.0
config.octuplet_margin = 0.5
config.also_px = (8,)
config.identity_also = True
config.faces_per_person = 4
config.output = "runs/faces15k_small_lr16_octuplet"
