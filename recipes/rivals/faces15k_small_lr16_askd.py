"""Rival: A-SKD, an interpretation. The identity loss, and the teacher's channel and spatial attention."""

from aird_plugin.recipe import base, data_path, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.askd = "aird_plugin.losses.askd:ASKD"
config.askd_weight = 80.0
config.teacher = data_path("teacher", "mobilefacenet_casia.pt")
config.online = True
config.bank = "runs/bank/faces15k_mfn_pt"
config.output = "runs/faces15k_small_lr16_askd"
