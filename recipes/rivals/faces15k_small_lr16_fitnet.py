"""Rival: FitNet. The identity loss, and regression of the teacher's feature maps through adapters."""

from aird_plugin.recipe import base, data_path, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.fitnet = "aird_plugin.losses.fitnet:FitNet"
config.fitnet_weight = 1.5
config.teacher = data_path("teacher", "mobilefacenet_casia.pt")
config.online = True
config.bank = "runs/bank/faces15k_mfn_pt"
config.output = "runs/faces15k_small_lr16_fitnet"
