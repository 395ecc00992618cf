"""Rival: F-SKD. The identity loss, cosine similarity of feature maps, and their affinity between two images."""

from aird_plugin.recipe import base, data_path, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.fskd = "aird_plugin.losses.fskd:FSKD"
config.fskd_weight = 20.0
config.fskd_cross = 0.2
config.teacher = data_path("teacher", "mobilefacenet_casia.pt")
config.online = True
config.bank = "runs/bank/faces15k_mfn_pt"
config.output = "runs/faces15k_small_lr16_fskd"
