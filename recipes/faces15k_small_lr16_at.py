"""Rival: attention transfer (AT). The identity loss, and where in its maps the teacher is active.

Maps need the teacher's weights (.pt), which are asked in every step: 7 to 8 ms a face on one core, of which the teacher takes 5.
"""

from aird_plugin.recipe import base, data_path, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.at = "aird_plugin.losses.attention:Attention"
config.at_weight = 1000.0
config.teacher = data_path("teacher", "mobilefacenet_casia.pt")
config.online = True
config.bank = "runs/bank/faces15k_mfn_pt"
config.output = "runs/faces15k_small_lr16_at"
