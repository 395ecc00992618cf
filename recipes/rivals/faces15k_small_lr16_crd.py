"""Rival: CRD with the paper's weight, temperature and momentum. 4096 rows per batch: 16384 would exceed the 15,553 images."""

from aird_plugin.recipe import base, drop_terms

config = base(__file__, "faces15k_small_lr16")
drop_terms(config, "iid", "rid")
config.terms.crd = "aird_plugin.losses.crd:CRD"
config.crd_weight = 0.8
config.crd_negatives = 4096
config.output = "runs/faces15k_small_lr16_crd"
