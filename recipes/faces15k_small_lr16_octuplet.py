"""Rival: octuplet loss (FG 2023) beside the identity loss of both sizes; no teacher but for the class centres.

The native student cannot see more than 16 px, so 16 px is the larger of the two sizes here and 8 px the smaller. Up to four faces
of a person stand in a batch; 3,526 of the 5,099 people have one, whose positive is the same face at the other size.
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
