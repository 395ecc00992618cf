"""Rival: attention transfer (AT). The identity loss, and the spatial attention of the teacher's feature maps.

Feature maps need the teacher's weights (.pt), which run in every step: 7 to 8 ms per image on one core, 5 of them in the teacher.
"""

from aird_plugin.recipe import base, data_path, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.at = "aird_plugin.losses.at:AT"
config.at_weight = 1000.0
config.teacher = data_path("teacher", "mobilefacenet_casia.pt")
config.online = True
config.bank = "runs/bank/faces15k_mfn_pt"
config.output = "runs/faces15k_small_lr16_at"
